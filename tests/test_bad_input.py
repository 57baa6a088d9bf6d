"""Damaged, lying and hostile files: each is read, or refused in one clear line, within bounds."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fuzz import TARGETS, row, table, try_input
from pages import rows_between, write_between

from clips import RATE, music
from genrescope import Classifier
from genrescope.audio import load
from genrescope.datasets.tables import read_table
from genrescope.errors import AudioError, BundleError, FileError, GenrescopeError, RecipeError
from genrescope.inference import Bundle
from genrescope.training.recipe import expand, load_recipe
from genrescope.untrusted import open_npz, parse_yaml, read_limited

FILES = Path(__file__).parent / "files" / "fuzz"
KINDS = {
    "wav": ("WAV", "PCM_16"),
    "w64": ("W64", "PCM_16"),
    "au": ("AU", "PCM_16"),
    "aiff": ("AIFF", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
}
NAMES = [
    "песня",
    "歌",
    "أغنية",
    "गीत",
    "노래",
    "שיר",
    "🎵",
    "a\nb",
    "tab\there",
    "-rf",
    "#1",
    "%41",
]


def encoded(kind: str, seconds: float = 1.0) -> bytes:
    file, (format_, subtype) = io.BytesIO(), KINDS[kind]
    soundfile.write(file, music(seconds), RATE, format=format_, subtype=subtype)
    return file.getvalue()


def check_audio(path: Path) -> None:
    start = time.process_time()
    try:
        found = load(path)
    except AudioError as error:
        assert len(str(error).splitlines()) == 1 or "\n" in str(path)
    else:
        assert np.isfinite(found.samples).all()
        assert found.duration < 3600
    assert time.process_time() - start < 60  # some milliseconds


class TestAudio:
    """Files that were cut, changed, or are something else"""

    @pytest.mark.parametrize("kind", KINDS)
    def test_cut_at_every_boundary_of_the_header(self, kind: str, tmp_path: Path) -> None:
        whole = encoded(kind, 0.3)
        path = tmp_path / f"a.{kind}"
        for size in [*range(0, 68, 2), 100, 200, len(whole) // 2, len(whole) - 1]:
            path.write_bytes(whole[:size])
            check_audio(path)

    @pytest.mark.parametrize("kind", KINDS)
    def test_flipped_bits(self, kind: str, tmp_path: Path) -> None:
        whole, random = encoded(kind, 0.3), np.random.default_rng(0)
        path = tmp_path / f"a.{kind}"
        for number in range(48):
            data = bytearray(whole)
            place = number if number < 24 else int(random.integers(0, len(data)))
            data[place] ^= 1 << int(random.integers(0, 8))
            path.write_bytes(data)
            check_audio(path)

    @pytest.mark.parametrize("kind", ["wav", "au", "aiff", "w64"])
    def test_a_header_that_lies_about_sizes(self, kind: str, tmp_path: Path) -> None:
        whole, path = encoded(kind, 0.3), tmp_path / f"a.{kind}"
        for place in range(0, min(120, len(whole) - 4), 4):
            for value in (b"\0\0\0\0", b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff"):
                path.write_bytes(whole[:place] + value + whole[place + 4 :])
                check_audio(path)

    def test_a_folder_of_everything(self, tmp_path: Path) -> None:
        """One command over all of it: the good are classified, each of the bad has a line."""
        good, top = encoded("wav", 3), tmp_path / "m"
        top.mkdir()
        for name in NAMES:
            (top / f"{name}.wav").write_bytes(good)
        undecodable = os.fsencode(top) + b"/\xff\xfe.wav"
        Path(os.fsdecode(undecodable)).write_bytes(good)
        (top / "wrong-ending.mp3").write_bytes(good)
        count = len(NAMES) + 2
        (top / "empty.wav").touch()
        (top / "text.flac").write_text("#EXTM3U\nother.mp3\n")
        with (top / "sparse.wav").open("wb") as file:
            file.truncate(2**40)
        (top / "folder.mp3").mkdir()
        (top / "loop").symlink_to(top)
        (top / "to-itself.ogg").symlink_to(top / "to-itself.ogg")
        os.mkfifo(top / "pipe.mp3")
        out = tmp_path / "out.jsonl"
        words = [sys.executable, "-m", "genrescope", "classify", top, "-o", out]
        done = subprocess.run(words, capture_output=True, text=True, timeout=600)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert len(out.read_text().splitlines()) == count
        for name in ("empty.wav", "text.flac", "sparse.wav"):
            assert sum(name in line for line in done.stderr.splitlines()) == 1


class TestBundles:
    """Models from strangers"""

    @pytest.fixture
    def manifest(self) -> dict[str, object]:
        fields = json.loads(Bundle.load("default").manifest.model_dump_json())
        return fields | {"training_tracks": None, "sha256": hashlib.sha256(b"").hexdigest()}

    def test_names_in_an_archive_lead_nowhere(
        self, tmp_path: Path, manifest: dict[str, object]
    ) -> None:
        for number, prefix in enumerate(["../../", "/", "C:\\", "a/../../"]):
            path = tmp_path / f"{number}.zip"
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr(f"{prefix}bundle.json", json.dumps(manifest))
                archive.writestr(f"{prefix}model.onnx", b"")
            before = sorted(tmp_path.rglob("*"))
            with pytest.raises(BundleError):
                Classifier.load(path)
            assert sorted(tmp_path.rglob("*")) == before

    def test_a_zip_bomb(self, tmp_path: Path, manifest: dict[str, object]) -> None:
        path = tmp_path / "bomb.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("bundle.json", json.dumps(manifest) + " " * 2**24)
            archive.writestr("model.onnx", b"")
        with pytest.raises(BundleError, match="larger than 16 MB"):
            Bundle.load(path)

    @pytest.mark.parametrize("name", ["bundle.json", "model.onnx"])
    @pytest.mark.parametrize("kind", ["sparse", "device", "pipe"])
    def test_a_file_without_end(
        self, name: str, kind: str, tmp_path: Path, manifest: dict[str, object]
    ) -> None:
        (tmp_path / "bundle.json").write_text(json.dumps(manifest))
        (tmp_path / "model.onnx").write_bytes(b"")
        (tmp_path / name).unlink()
        if kind == "device":
            (tmp_path / name).symlink_to("/dev/zero")
        elif kind == "pipe":
            os.mkfifo(tmp_path / name)
        else:
            with (tmp_path / name).open("wb") as file:
                file.truncate(2**41)
        with pytest.raises(BundleError, match=rf"{name} is"):
            Bundle.load(tmp_path)

    @pytest.mark.parametrize("version", [None, 0, 4, "2", 1e400, [2]])
    def test_other_versions(
        self, version: object, tmp_path: Path, manifest: dict[str, object]
    ) -> None:
        text = json.dumps(manifest | {"schema_version": version})
        (tmp_path / "bundle.json").write_text(text)
        (tmp_path / "model.onnx").write_bytes(b"")
        with pytest.raises(BundleError):
            Bundle.load(tmp_path)

    def test_deep_nesting(self, tmp_path: Path) -> None:
        (tmp_path / "bundle.json").write_text("[" * 200_000)
        (tmp_path / "model.onnx").write_bytes(b"")
        with pytest.raises(BundleError):
            Bundle.load(tmp_path)


class TestRecipes:
    """YAML that expands, nests or lasts"""

    @pytest.mark.parametrize(
        "text",
        [
            "a: &a [1, 2]\n"
            + "".join(
                f"{c}: &{c} [*{chr(ord(c) - 1)}, *{chr(ord(c) - 1)}]\n"
                for c in "bcdefghijklmnopqrstuvwxyz"
            ),
            "a: &a [*a]",
            "a: " + "[" * 3000,
            "a: " + "x" * 300_000,
            "!!python/object/apply:os.system ['true']",
            "? {a: b}\n: c",
            "a: 2001-99-99",
            "\0",
        ],
        ids=["aliases", "itself", "deep", "long", "code", "key", "date", "zero"],
    )
    def test_are_refused(self, text: str, tmp_path: Path) -> None:
        path = tmp_path / "a.yaml"
        path.write_text(text)
        start = time.process_time()
        with pytest.raises(RecipeError) as error:
            load_recipe(path)
        assert len(str(error.value).splitlines()) == 1
        assert time.process_time() - start < 8

    def test_a_family_of_any_number_of_members(self, tmp_path: Path) -> None:
        path = tmp_path / "a.yaml"
        axes = "".join(f"  axis{n}: [{', '.join(map(str, range(10)))}]\n" for n in range(9))
        path.write_text(f"variants:\n{axes}")
        with pytest.raises(RecipeError, match="more than 10000 variants"):
            expand(path)

    def test_plain_values_stay(self) -> None:
        assert parse_yaml("a: &a [1, x]\nb: *a") == {"a": [1, "x"], "b": [1, "x"]}


class TestArrays:
    """`.npz` files that are not what they say"""

    @staticmethod
    def write(path: Path, shape: tuple[int, ...], content: bytes) -> Path:
        head = io.BytesIO()
        fields = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(head, fields)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("X.npy", head.getvalue() + content)
            archive.writestr("track_id.npy", head.getvalue() + content)
        return path

    def test_a_header_that_promises_more(self, tmp_path: Path) -> None:
        path = self.write(tmp_path / "a.npz", (10**11, 10), bytes(8))
        with pytest.raises(GenrescopeError, match=r"X\.npy holds 8 bytes and not"):
            read_table([path])

    def test_an_array_that_expands(self, tmp_path: Path) -> None:
        path = self.write(tmp_path / "a.npz", (2**25,), bytes(2**27))
        with pytest.raises(ValueError, match="expands to 128 MB"), open_npz(path) as arrays:
            arrays["X"]

    def test_objects_are_not_unpickled(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "a.npz", X=np.array([{}], dtype=object))
        with pytest.raises(ValueError, match="pickle"), open_npz(tmp_path / "a.npz") as arrays:
            arrays["X"]

    def test_real_arrays(self, tmp_path: Path) -> None:
        np.savez_compressed(tmp_path / "a.npz", x=np.arange(6).reshape(2, 3), names=["a", "ü"])
        with open_npz(tmp_path / "a.npz") as arrays:
            assert arrays["x"].shape == (2, 3)
            assert arrays["names"].tolist() == ["a", "ü"]

    def test_devices_are_not_read(self) -> None:
        with pytest.raises(ValueError, match="not a regular file"):
            read_limited("/dev/zero", 10)


@pytest.mark.needs("train")  # torch and onnx make the real files
@pytest.mark.parametrize("kind", TARGETS)
def test_real_files_and_those_that_once_failed(kind: str, tmp_path: Path) -> None:
    """What `tools/fuzz.py` starts from, and what it has found."""
    target = TARGETS[kind]
    once = sorted((FILES / kind.replace(" ", "-")).glob("*"))
    for data in [*target.seeds(), *(path.read_bytes() for path in once)]:
        for cut in (data, data[: len(data) // 2]):
            assert try_input(target, cut, tmp_path) is None


def test_a_kind_that_is_not_fuzzed_again_keeps_its_row(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- fuzz -->\n<!-- /fuzz -->\nb\n", "utf-8")
    first = {"inputs": 10, "findings": {"1": "crash: x"}, "measured": "2026-01-01"}
    later = {"inputs": 5, "findings": {"1": "hang: 6 s"}, "measured": "2026-01-02"}
    for results in ({"WAV": first, "AU": first}, {"AU": later}):
        new = {name: row(name, result) for name, result in results.items()}
        write_between(page, "fuzz", table(rows_between(page, "fuzz") | new))
    assert [*rows_between(page, "fuzz").values()] == [
        "| WAV | 10 | 1 | 0 | 0 | 2026-01-01 |",
        "| AU | 5 | 0 | 1 | 0 | 2026-01-02 |",
        "| all | 15 | 1 | 1 | 0 | |",
    ]
    assert page.read_text("utf-8").startswith("a\n") and page.read_text("utf-8").endswith("b\n")


def test_the_errors_of_files_name_them(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"a\.npz"):
        TARGETS["embeddings .npz"].read(tmp_path / "a.npz")


@pytest.mark.parametrize(
    "words",
    [
        "classify x --out",
        "embed x --out",
        "map --out",
        "map --png",
        "pack default --overwrite --out",
        "playlist x y --out",
        "similar x --playlist",
        "recommend x --playlist",
        "library list --playlist",
        "library corrections --out",
        "sort --export",
        "geometry default --data x --write",
        "compare --write",
    ],
)
def test_no_output_replaces_music(tmp_path: Path, words: str) -> None:
    from typer.testing import CliRunner

    from genrescope.cli import app

    (tmp_path / "song.mp3").write_bytes(b"not even music")
    soundfile.write(tmp_path / "song", np.zeros(800), 8000, format="FLAC")
    for name in ("song.mp3", "song"):
        before = (tmp_path / name).read_bytes()
        done = CliRunner().invoke(app, [*words.split(), str(tmp_path / name)])
        assert done.exit_code == 2
        assert "is music which is never replaced" in re.sub(r"\W+", " ", done.output)
        assert (tmp_path / name).read_bytes() == before
    done = CliRunner().invoke(app, [*words.split(), "-"])
    assert done.exit_code == 2
    assert "not - " in done.output


def test_an_empty_value_of_any_option_is_misuse() -> None:
    import typer

    from genrescope.cli import app

    top = typer.main.get_command(app)
    groups = [top, *(c for c in top.commands.values() if hasattr(c, "commands"))]
    commands = [c for g in groups for c in g.commands.values() if not hasattr(c, "commands")]
    tried = set()
    for command in commands:
        for parameter in command.params:
            words = [parameter.opts[0]] if parameter.param_type_name == "option" else []
            if getattr(parameter, "is_flag", False) or parameter.name == "paths":
                continue
            with pytest.raises(typer.BadParameter, match=r"^it is empty$"):
                command.make_context(command.name, [*words, ""])
            tried.add(parameter.name)
    assert {"model", "out", "recipe", "name", "library", "folders", "journal"} <= tried


@pytest.mark.parametrize("source", [None, 3, ["song.mp3"]])
def test_what_is_no_source_is_a_type_error(source: object) -> None:
    with pytest.raises(TypeError, match="expected a path, bytes, or a file object, not "):
        Classifier.load().predict(source)  # type: ignore[arg-type]


def test_samples_too_large_for_their_power_are_refused() -> None:
    with pytest.raises(AudioError, match="too large"):
        Classifier.load().predict((np.full(3 * RATE, 1e30), RATE))
