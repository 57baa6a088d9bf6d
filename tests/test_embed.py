"""Embeddings of files in one table: whole, resumable, and what is wrong with a file said once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from clips import music, write_wav
from genrescope.audio import Waveform
from genrescope.encoders import embed_files, engine
from genrescope.encoders.engine import EmbeddingModel, Segments
from genrescope.encoders.files import pooled
from genrescope.encoders.store import Embedding
from genrescope.encoders.tables import read_heading, read_table
from genrescope.errors import AudioError, FileError, GenrescopeError
from genrescope.inference import Classifier, bundle_layer

SUFFIXES = ["npz", "parquet"]


class Counted:
    """A layer of the shipped bundle that counts the files it reads."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.base = bundle_layer("default")
        self.read: list[str] = []
        self.fails_at = fails_at

    def model(self) -> EmbeddingModel:
        def read(path: Path) -> Iterator[Segments]:
            self.read.append(Path(path).name)
            if self.fails_at is not None and len(self.read) > self.fails_at:
                raise GenrescopeError("as if the machine stopped here")
            yield from self.base.read(path)

        return EmbeddingModel(read=read, load=self.base.load, key=self.base.key)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("music")
    return [write_wav(folder / f"{n}.wav", 4 + n, seed=n) for n in range(6)]


def table(path: Path) -> dict[str, np.ndarray]:
    return {track.path: track.values for track in read_table(path)}


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return list(one) == list(other) and all(
        np.allclose(one[name], other[name], atol=1e-5) for name in one
    )


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("pool", ["none", "mean", "mean_std_max"])
def test_a_table_holds_what_the_model_gives(
    files: list[Path], tmp_path: Path, suffix: str, pool: str
) -> None:
    if suffix == "parquet":
        pytest.importorskip("pyarrow", reason="Parquet needs the extra library")
    model, out = bundle_layer("default"), tmp_path / f"a.{suffix}"
    report = embed_files([*files, files[0]], out, model, pool=pool)
    assert (report.tracks, report.computed, report.failures) == (6, 6, [])
    found = list(read_table(out))
    assert [track.path for track in found] == [str(path) for path in files]
    for track, result in zip(found, engine.embed(model, files), strict=True):
        assert isinstance(result, Embedding)
        wanted = pooled(result, pool)
        np.testing.assert_allclose(track.values, wanted.values, atol=1e-5)
        np.testing.assert_array_equal(track.starts, wanted.starts)
        np.testing.assert_array_equal(track.ends, wanted.ends)
        assert (len(track.values) == 1) == (pool != "none")
    assert report.rows == sum(len(track.values) for track in found)
    assert not (tmp_path / f"a.{suffix}.partial").exists()


def test_means_are_those_of_the_classifier(files: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "a.npz"
    embed_files(files[:2], out, bundle_layer("default"), pool="mean")
    classifier = Classifier.load("default")
    with np.load(out) as arrays:
        assert set(arrays) == {"heading", "paths", "track", "start", "end", "embedding"}
        assert arrays["track"].tolist() == [0, 1]
        for path, row in zip(arrays["paths"], arrays["embedding"], strict=True):
            np.testing.assert_allclose(row, classifier.embed(str(path)), atol=1e-5)


def test_parquet_is_read_by_pandas_and_pyarrow(files: list[Path], tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="Parquet needs the extra library")
    out = tmp_path / "a.parquet"
    embed_files(files[:2], out, bundle_layer("default"))
    read = parquet.read_table(out)
    assert read.column_names == ["path", "start", "end", "embedding"]
    assert set(read.column("path").to_pylist()) == {str(path) for path in files[:2]}
    rows = np.stack(read.column("embedding").to_pylist())
    np.testing.assert_array_equal(rows, np.concatenate(list(table(out).values())))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_second_call_computes_what_is_new_alone(
    files: list[Path], tmp_path: Path, suffix: str
) -> None:
    if suffix == "parquet":
        pytest.importorskip("pyarrow", reason="Parquet needs the extra library")
    own = [tmp_path / path.name for path in files[:4]]
    for path, copy in zip(files, own, strict=False):
        copy.write_bytes(path.read_bytes())
    out = tmp_path / f"a.{suffix}"
    embed_files(own[:3], out, Counted().model())
    first, written = table(out), out.stat().st_mtime_ns
    again = Counted()
    assert embed_files(own[:3], out, again.model()).computed == 0
    assert (again.read, out.stat().st_mtime_ns) == ([], written)
    more = Counted()
    report = embed_files([own[3], *own[:2]], out, more.model())
    assert (more.read, report.computed, report.tracks) == ([own[3].name], 1, 3)
    second = table(out)
    assert list(second) == [str(own[3]), str(own[0]), str(own[1])]
    np.testing.assert_array_equal(second[str(own[0])], first[str(own[0])])
    own[0].write_bytes(files[5].read_bytes())
    changed = Counted()
    embed_files([own[3], *own[:2]], out, changed.model())
    assert changed.read == [own[0].name]
    assert len(table(out)[str(own[0])]) > len(first[str(own[0])])


def test_an_interrupted_call_continues(files: list[Path], tmp_path: Path) -> None:
    out, whole = tmp_path / "a.npz", tmp_path / "whole.npz"
    embed_files(files, whole, bundle_layer("default"))
    stopped = Counted(fails_at=4)
    with pytest.raises(GenrescopeError, match="as if the machine stopped"):
        embed_files(files, out, stopped.model(), batch_size=1, jobs=1)
    assert not out.exists()
    kept = sum(len(np.load(part)["paths"]) for part in (tmp_path / "a.npz.partial").glob("*.npz"))
    assert kept > 0
    rest = Counted()
    report = embed_files(files, out, rest.model())
    assert len(rest.read) == report.computed == len(files) - kept
    assert same(table(out), table(whole))
    assert not (tmp_path / "a.npz.partial").exists()


def test_what_cannot_be_embedded_is_left_out_and_tried_again(
    files: list[Path], tmp_path: Path
) -> None:
    bad, out = tmp_path / "bad.wav", tmp_path / "a.npz"
    silent = tmp_path / "silent.wav"
    soundfile.write(silent, np.zeros(66150, np.float32), 22050)
    bad.write_bytes(b"junk")
    told: list[FileError] = []
    report = embed_files([bad, files[0], silent], out, bundle_layer("default"), failed=told.append)
    assert [str(Path(e.path).name) for e in report.failures] == ["bad.wav", "silent.wav"]
    assert told == report.failures
    assert isinstance(told[0], AudioError)
    assert "digital silence" in told[1].reason
    assert list(table(out)) == [str(files[0])]
    bad.write_bytes(files[1].read_bytes())
    again = Counted()
    assert embed_files([bad, files[0]], out, again.model()).tracks == 2
    assert again.read == ["bad.wav"]


def test_what_is_in_the_way_is_said(files: list[Path], tmp_path: Path) -> None:
    model, out = bundle_layer("default"), tmp_path / "a.npz"
    for name, words in (("a.csv", r"has to end in \.npz or \.parquet"), ("no/a.npz", "no folder")):
        with pytest.raises(GenrescopeError, match=words):
            embed_files(files, tmp_path / name, model)
    with pytest.raises(GenrescopeError, match="no pool 'sum'"):
        embed_files(files, out, model, pool="sum")  # type: ignore[arg-type]
    embed_files(files[:1], out, model)
    with pytest.raises(GenrescopeError, match="holds embeddings with other settings"):
        embed_files(files[:1], out, model, pool="mean")
    out.write_bytes(b"something else")
    with pytest.raises(FileError, match="no table of embeddings"):
        embed_files(files[:1], out, model)
    assert out.read_bytes() == b"something else"
    half = tmp_path / "half.npz"
    with pytest.raises(GenrescopeError, match="stopped"):
        embed_files(files, half, Counted(fails_at=4).model(), batch_size=1, jobs=1)
    with pytest.raises(GenrescopeError, match="an unfinished table with other settings"):
        embed_files(files, half, Counted().model(), pool="mean")


def test_names_need_not_be_utf_8(files: list[Path], tmp_path: Path) -> None:
    name = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.wav")
    try:
        Path(name).write_bytes(files[0].read_bytes())
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    for suffix in SUFFIXES:
        if suffix == "parquet":
            pytest.importorskip("pyarrow", reason="Parquet needs the extra library")
        out = tmp_path / f"a.{suffix}"
        assert embed_files([name], out, bundle_layer("default"), pool="mean").tracks == 1
        (found,) = table(out)
        assert found.endswith("caf\\udce9.wav")


# The engine.


def test_sources_come_in_their_order_whatever_their_length() -> None:
    lengths = [3, 150, 1, 70, 2]

    def read(seconds: int) -> Iterator[Segments]:
        for first in range(0, seconds, 60):
            count = min(60, seconds - first)
            starts = np.arange(first, first + count, dtype=np.float64)
            yield Segments(starts[:, None].astype(np.float32), starts, starts + 1)

    for batch_size, jobs in ((1, 1), (7, 2), (32, 3), (1000, 2)):
        model = EmbeddingModel(read=read, load=lambda: lambda batch: 2 * batch, key="")
        found = list(engine.embed(model, lengths, batch_size=batch_size, jobs=jobs))
        for seconds, result in zip(lengths, found, strict=True):
            assert isinstance(result, Embedding)
            np.testing.assert_array_equal(result.values[:, 0], 2 * np.arange(seconds))
            np.testing.assert_array_equal(result.ends, np.arange(seconds) + 1)


def test_an_error_in_the_middle_of_a_source_is_that_sources_alone() -> None:
    def read(name: str) -> Iterator[Segments]:
        yield Segments(np.ones((5, 1), np.float32), np.zeros(5), np.ones(5))
        if name == "broken":
            raise AudioError(name, "damaged behind its first minute")
        if name == "odd":
            raise ZeroDivisionError("a decoder's own fault")

    model = EmbeddingModel(read=read, load=lambda: lambda batch: batch, key="")
    names = ["a", "broken", "b", "odd", "c"]
    found = list(engine.embed(model, names, batch_size=3, jobs=2))
    assert [type(each) for each in found] == [
        Embedding,
        AudioError,
        Embedding,
        FileError,
        Embedding,
    ]
    assert "odd: unexpected ZeroDivisionError: a decoder's own fault" in str(found[3])
    assert all(len(each.values) == 5 for each in found if isinstance(each, Embedding))
    for wrong in ({"batch_size": 0}, {"jobs": 0}):
        with pytest.raises(ValueError, match="must be at least 1"):
            engine.embed(model, names, **wrong)


def test_sources_are_taken_only_as_fast_as_they_are_computed() -> None:
    taken: list[int] = []

    def sources() -> Iterator[int]:
        for number in range(1000):
            taken.append(number)
            yield number

    def read(number: int) -> Iterator[Segments]:
        yield Segments(np.full((1, 1), number, np.float32), np.zeros(1), np.ones(1))

    model = EmbeddingModel(read=read, load=lambda: lambda batch: batch, key="")
    found = engine.embed(model, sources(), batch_size=1, jobs=2)
    for _ in range(5):
        next(found)
    assert len(taken) < 30
    found.close()


# Encoders.


def _peak(code: str, *arguments: Path) -> float:
    """Peak of resident memory of a process that runs code, MB."""
    # Not `ru_maxrss`, in which Linux counts the process that started this one, too.
    tail = (
        "from pathlib import Path; status = Path('/proc/self/status')\n"
        "peaks = [line.split()[1] for line in status.read_text().splitlines() if 'HWM' in line]\n"
        "print(int(peaks[0]) / 1000)"
    )
    command = [sys.executable, "-c", f"{code}\n{tail}", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return float(done.stdout.split()[-1])


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is of Linux")
def test_an_hour_takes_no_more_memory_than_minutes(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="encoders need the extra encoders")
    minute = music(60, rate=16000)
    for name, minutes in (("short", 3), ("long", 60)):
        with soundfile.SoundFile(tmp_path / f"{name}.flac", "w", 16000, 1) as file:
            for _ in range(minutes):
                file.write(minute)
    code = """
import sys
from genrescope.encoders import make_encoder
from genrescope.encoders.layer import read_segments
encoder = make_encoder("vggish", weights_seed=0)
print(sum(len(piece.values) for piece in read_segments(encoder, sys.argv[1])))
"""
    short, long = (_peak(code, tmp_path / f"{name}.flac") for name in ("short", "long"))
    assert long < short + 30, "an hour of samples alone is 230 MB"


def test_a_long_file_is_embedded_as_its_whole_is(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="encoders need the extra encoders")
    from genrescope.encoders import make_encoder
    from genrescope.encoders.layer import read_segments

    for name in ("musicnn", "efficientat", "vggish"):
        encoder = make_encoder(name, weights_seed=0)
        rate = encoder.frontend.computed.sample_rate
        sound = Waveform(music(200.3, rate=rate), rate)
        pieces = list(read_segments(encoder, sound))
        feature, length = encoder.frontend.computed, encoder.frontend.segment_frames
        assert len(pieces) > 1
        whole, step = feature(sound), max(1, round(encoder.step / feature.hop_seconds))
        starts = np.concatenate([piece.starts for piece in pieces])
        values = np.concatenate([piece.values for piece in pieces])
        for number in (0, len(starts) // 2, len(starts) - 1):
            frame = number * step
            np.testing.assert_array_equal(values[number], whole[:, frame : frame + length])
            assert starts[number] == pytest.approx(frame * feature.hop_seconds)
        assert len(starts) == (whole.shape[1] - length) // step + 1
        assert np.concatenate([piece.ends for piece in pieces]).max() <= 200.3


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "weights", "size"),
    [
        ("musicnn", "musicnn-msd", 200),
        ("efficientat", "efficientat-mn04/mn04_as_mAP_432.pt", 384),
    ],
)
def test_real_encoders(shared: Path, tmp_path: Path, name: str, weights: str, size: int) -> None:
    pytest.importorskip("torch", reason="encoders need the extra encoders")
    from typer.testing import CliRunner

    from genrescope.cli import app

    clips = sorted(shared.glob("data/gtzan-audio/*/*.flac"))[:2]
    out = tmp_path / "a.npz"
    words = ["embed", *clips, "-e", name, "--weights", shared / "weights" / weights, "-o", out]
    done = CliRunner().invoke(app, [*map(str, words)])
    assert done.exit_code == 0, done.output
    assert "2 tracks" in done.stdout
    from genrescope.encoders import make_encoder

    encoder = make_encoder(name, shared / "weights" / weights)
    for path, values in table(out).items():
        assert values.shape[1] == size
        wanted = encoder.embed(path).values  # kept as float16
        np.testing.assert_allclose(values, wanted, rtol=2e-3, atol=2e-3)


# The command.


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(*words: object) -> subprocess.CompletedProcess[str]:
        call = [sys.executable, "-m", "genrescope", "embed", *map(str, words)]
        return subprocess.run(call, cwd=tmp_path, capture_output=True, text=True)

    return run


@pytest.mark.slow
def test_exit_codes_and_errors(
    command: Callable[..., subprocess.CompletedProcess[str]], files: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "bad.wav").write_bytes(b"junk")
    done = command("bad.wav", *files[:2], "-m", "default", "--pool", "mean", "-o", "a.npz")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "bad.wav: not audio" in done.stderr
    assert done.stdout == "2 tracks, 2 rows, 2 computed, 0 kept: a.npz\n"
    again = command(*files[:2], "-m", "default", "--pool", "mean", "-o", "a.npz")
    assert (again.returncode, again.stderr) == (0, "")
    assert "0 computed, 2 kept" in again.stdout
    for words, reason in (
        (["bad.wav", "-m", "default", "-o", "b.npz"], "not audio"),
        (["bad.wav", "-m", "default", "-o", "b.txt"], "has to end in"),
        (["bad.wav", "-o", "b.npz"], "give either --encoder or --model"),
        (["bad.wav", "-m", "default", "-e", "vggish", "-o", "b.npz"], "either --encoder or"),
        (["bad.wav", "-e", "vgish", "-o", "b.npz"], "did you mean 'vggish'?"),
        (["bad.wav", "-m", "default", "--layer", "embeding", "-o", "b.npz"], "did you mean"),
    ):
        refused = command(*words)
        assert refused.returncode == 2, words
        assert reason in " ".join(refused.stderr.split()), words
        assert "Traceback" not in refused.stderr
        assert not (tmp_path / "b.npz").exists()
        assert not (tmp_path / "b.npz.partial").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="signals are of Unix")
def test_a_killed_command_continues(files: list[Path], tmp_path: Path) -> None:
    many = []
    for number in range(40):
        many.append(tmp_path / f"{number:02d}.wav")
        many[-1].write_bytes(files[number % 6].read_bytes() + bytes(number))
    code = (  # it waits after some parts until it is killed
        "import time, genrescope.encoders.files as f; f._PART_SECONDS = 0\n"
        "flush = f._Parts._flush\n"
        "def slow(parts):\n flush(parts)\n if parts._number >= 5: time.sleep(600)\n"
        "f._Parts._flush = slow\n"
        "from genrescope.cli import main; main()"
    )
    words = ["embed", *map(str, many), "-m", "default", "--jobs", "1", "-o", "a.npz"]
    process = subprocess.Popen([sys.executable, "-c", code, *words], cwd=tmp_path)
    parts = tmp_path / "a.npz.partial"
    while len(list(parts.glob("[0-9]*.npz"))) < 3 and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert not (tmp_path / "a.npz").exists()
    kept = len(list(parts.glob("[0-9]*.npz")))
    assert kept >= 3
    again = Counted()
    report = embed_files(many, tmp_path / "a.npz", again.model())
    assert report.tracks == 40
    assert report.computed == len(again.read) <= 40 - kept
    assert list(table(tmp_path / "a.npz")) == [str(path) for path in many]
    assert json.loads(read_heading(tmp_path / "a.npz").key)["layer"] == "embedding"
