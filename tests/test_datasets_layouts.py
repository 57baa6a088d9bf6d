"""Data sets known by name: found by the registry, also in a package; Ballroom, HOMBURG, FMA."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from clips import write_wav
from genrescope.cli.datasets import app
from genrescope.datasets import LAYOUTS, group_tracks, read_dataset
from genrescope.datasets.check import check_dataset
from genrescope.datasets.dataset import NO_FILE, LeftOut
from genrescope.datasets.layouts import layout
from genrescope.errors import DatasetError, FileError, RecipeError
from genrescope.features.sampled_mel import load_sampled_mel
from genrescope.features.spectrogram import load_spectrogram


def touch(root: Path, *files: str) -> Path:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    return root


# --- Ballroom

DANCES = (
    "ChaChaCha/Albums-Fire-08.wav",
    "Samba/Albums-Fire-09.wav",
    "Rumba-American/Albums-Latin_Jam-01.wav",
    "Rumba-Misc/Media-103402.wav",
    "Waltz/Media-104705.wav",
)


@pytest.mark.parametrize("path", ["", "BallroomData"])
@pytest.mark.parametrize("listed", [True, False])
def test_ballroom_with_and_without_its_list(tmp_path: Path, path: str, listed: bool) -> None:
    root = tmp_path / "BallroomData"
    touch(root, *DANCES, "nada.txt")
    if listed:
        lines = [f"./{name}\n" for name in (*DANCES, "Tango/Albums-Gone-01.wav")]
        (root / "allBallroomFiles").write_text("".join(lines))
    dataset = read_dataset(tmp_path / path)
    assert (dataset.kind, dataset.name) == ("ballroom", "Ballroom")
    assert [(t.id, t.genre, t.path) for t in dataset.tracks] == [
        ("Albums-Fire-08", "ChaChaCha", root / DANCES[0]),
        ("Albums-Fire-09", "Samba", root / DANCES[1]),
        ("Albums-Latin_Jam-01", "Rumba", root / DANCES[2]),
        ("Media-103402", "Rumba", root / DANCES[3]),
        ("Media-104705", "Waltz", root / DANCES[4]),
    ]
    gone = [LeftOut("Albums-Gone-01", NO_FILE, "Tango")] if listed else []
    assert dataset.left_out == gone
    groups = group_tracks(dataset.tracks, by_artist=False)
    assert groups["Albums-Fire-08"] == groups["Albums-Fire-09"]
    assert len(set(groups.values())) == 4


def test_ballroom_says_how_much_of_it_is_missing(tmp_path: Path) -> None:
    for number, name in enumerate(DANCES):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_wav(tmp_path / name, 1.0, seed=number)
    details = {problem.detail for problem in check_dataset(read_dataset(tmp_path)).problems}
    assert "2 of Ballroom's 98 Rumba tracks are there" in details
    assert "known to be one recording, labelled ChaChaCha and Samba" in details


# --- HOMBURG


def test_homburg_names_its_artists(tmp_path: Path) -> None:
    touch(
        tmp_path,
        *("raphiphop/T_minus_Band-2084.mp3", "raphiphop/T_minus_Band-Two.mp3"),
        *("folkcountry/__The_Membots__-Hello-again.mp3", "rock/Zach-Kid.mp3"),
    )
    dataset = read_dataset(tmp_path)
    assert (dataset.kind, dataset.name) == ("homburg", "HOMBURG")
    assert [(t.id, t.genre, t.artist) for t in dataset.tracks] == [
        ("T_minus_Band-2084", "raphiphop", "T_minus_Band"),
        ("T_minus_Band-Two", "raphiphop", "T_minus_Band"),
        ("Zach-Kid", "rock", "Zach"),
        ("__The_Membots__-Hello-again", "folkcountry", "__The_Membots__"),
    ]
    assert len(set(group_tracks(dataset.tracks, by_artist=True).values())) == 3


@pytest.mark.parametrize("files", [["rock/A-b.mp3", "blues/C-d.mp3"], ["raphiphop/a.mp3"]])
def test_folders_named_much_like_homburgs_are_just_folders(
    tmp_path: Path, files: list[str]
) -> None:
    assert read_dataset(touch(tmp_path, *files)).kind == "folders"


# --- FMA's mel spectrograms


def test_fma_as_mel_spectrograms(tmp_path: Path) -> None:
    pixels = np.arange(128 * 128, dtype=np.uint32).reshape(128, 128) % 64
    for track in (2, 140):
        file = tmp_path / f"fma-mel/{track // 1000:03d}/{track:06d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(file)
    (tmp_path / "fma-metadata").mkdir()
    rows = ["subset,split,track_id,genre_top,genres", "small,training,2,Hip-Hop,[]"]
    rows += ["small,test,140,Folk,[]", "small,test,98565,Folk,[]", "medium,test,9,Folk,[]"]
    (tmp_path / "fma-metadata/tracks_small.csv").write_text("\n".join(rows))
    dataset = read_dataset(tmp_path / "fma-mel")
    assert (dataset.kind, dataset.content) == ("fma_mel", "mel spectrograms")
    assert [(t.id, t.genre, t.split) for t in dataset.tracks] == [
        ("140", "Folk", "test"),
        ("2", "Hip-Hop", "train"),
    ]
    assert [left.id for left in dataset.left_out] == ["98565"]
    values = load_sampled_mel(dataset.tracks[0].path)
    assert values.shape == (128, 128)
    assert values[127, 63] == pytest.approx((4 * 63 + 1.5) / 255 * 80 - 80)
    with pytest.raises(FileError, match="a mel spectrogram of FMA's, not a power spectrogram"):
        load_spectrogram(dataset.tracks[0].path)
    (tmp_path / "bad.png").write_bytes(b"no picture")
    Image.fromarray(pixels[:64].astype(np.uint8)).save(tmp_path / "small.png")
    for name in ("bad.png", "small.png"):
        with pytest.raises(FileError, match=name):
            load_sampled_mel(tmp_path / name)


def test_pictures_of_fma_need_its_table(tmp_path: Path) -> None:
    touch(tmp_path, "000/000002.png")
    with pytest.raises(DatasetError, match=r"no fma_metadata/tracks.csv near"):
        read_dataset(tmp_path)


@pytest.mark.shared
def test_the_real_mel_spectrograms(shared: Path) -> None:
    dataset = read_dataset(shared / "data/fma-mel")
    assert (dataset.kind, len(dataset.tracks)) == ("fma_mel", 7994)
    assert {left.id for left in dataset.left_out} == {"98565", "98567", "98569"}
    values = load_sampled_mel(dataset.tracks[0].path)
    assert -80 < values.min() < values.max() <= 0


# --- The registry

PLUGIN = """
from genrescope.datasets import About, Dataset, Layout, Track


class Polkas(Layout):
    about = About("Polkas", "Polkas for a test.", "polkas/*.wav", genres={"polka": 2})
    repeats = (("one", "two"),)

    def detect(self, path):
        return (path / "polkas").is_dir()

    def read(self, path):
        files = sorted((path / "polkas").glob("*.wav"))
        return Dataset("Polkas", "polkas", [Track(f.stem, f, "polka") for f in files])
"""


def test_a_package_adds_a_data_set_by_an_entry_point(tmp_path: Path) -> None:
    package = touch(tmp_path / "site", "polkas.py", "polkas-1.0.dist-info/METADATA")
    (package / "polkas.py").write_text(PLUGIN)
    (package / "polkas-1.0.dist-info/METADATA").write_text("Name: polkas\nVersion: 1.0\n")
    (package / "polkas-1.0.dist-info/entry_points.txt").write_text(
        "[genrescope.datasets]\npolkas = polkas:Polkas\n"
    )
    music = touch(tmp_path / "music", "polkas/one.wav", "polkas/two.wav")
    code = (
        "import sys; from genrescope.datasets import read_dataset\n"
        f"d = read_dataset({str(music)!r})\n"
        "print(d.kind, [(t.id, t.recording) for t in d.tracks])\n"
        "from genrescope.cli import main; sys.argv[1:] = ['datasets', 'info', 'polkas']; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(package)!r})\n{code}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("polkas [('one', 'one'), ('two', 'one')]\n")
    assert "Polkas for a test." in done.stdout


def test_what_looks_like_two_data_sets_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "allBallroomFiles", "jazz/jazz.00001.wav")
    with pytest.raises(DatasetError, match="looks like ballroom and gtzan"):
        read_dataset(tmp_path)
    assert read_dataset(tmp_path, kind="gtzan").name == "GTZAN"
    with pytest.raises(RecipeError, match=r"no data set 'gtsan' \(did you mean 'gtzan'\?\)"):
        read_dataset(tmp_path, kind="gtsan")


@pytest.mark.parametrize("name", LAYOUTS.names())
def test_every_layout_states_what_it_is(name: str) -> None:
    known = layout(name)
    about = known.about
    assert all((about.title, about.description, about.files))
    if not known.generic:
        assert all((about.citation, about.licence, about.url))
    assert all(len(set(ids)) == len(ids) > 1 for ids in known.repeats)
    for genre, number in about.genres.items():
        assert len(known.ids(genre)) in (0, number)


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"}, catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_list_and_info_say_what_is_known() -> None:
    text = run("list")
    assert all(layout(name).about.title in text for name in LAYOUTS.names())
    listed = json.loads(run("list", "--format", "json"))
    assert [each["name"] for each in listed] == LAYOUTS.names()
    text = run("info", "gtzan")
    assert "Tzanetakis" in text
    assert "pop.00067 = pop.00071" in text
    ballroom = json.loads(run("info", "ballroom", "--format", "json"))
    assert ballroom["tracks"] == 698
    assert ballroom["hashes"] == {"data1.tar.gz": "md5:2872a3e52070bc342a4510a95e2fa0b8"}
    with pytest.raises(RecipeError, match="did you mean 'homburg'"):  # main() turns it into 2
        run("info", "hamburg")
