"""Covers among the music change nothing; audio and stored spectrograms are never mixed."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clips import write_spectrograms, write_wav
from genrescope.datasets import read_dataset, with_artists
from genrescope.errors import DatasetError


@pytest.fixture
def music(tmp_path: Path) -> Path:
    """Two genres of two clips each."""
    for name in ("jazz/a", "jazz/b", "rock/c", "rock/d"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_wav(tmp_path / f"{name}.wav", 0.1)
    return tmp_path


def picture(path: Path, mode: str = "RGB", size: tuple[int, int] = (8, 8)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size).save(path)
    return path


def test_of_one_name_in_two_formats_one_is_taken_and_the_other_named(music: Path) -> None:
    shutil.copy(music / "jazz" / "a.wav", music / "jazz" / "a.wave")
    found = read_dataset(music)
    assert [track.path.name for track in found.tracks] == ["a.wave", "b.wav", "c.wav", "d.wav"]
    assert "another format of a track of that name, and left out: jazz/a.wav" in found.notices()[0]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "1"])
@pytest.mark.parametrize(
    "places",
    [
        ["jazz/cover.png"],
        ["jazz/cover.png", "rock/cover.png"],
        ["jazz/a.png", "rock/Album/Front.PNG"],
        ["jazz/.cover.png", "cover.png"],
    ],
)
def test_pictures_next_to_audio_change_nothing(music: Path, mode: str, places: list[str]) -> None:
    before = read_dataset(music)
    for place in places:
        picture(music / place, mode)
    after = read_dataset(music)
    assert (after.tracks, after.content) == (before.tracks, "audio")
    table = music / "artists.csv"
    table.write_text("track,artist\na,Ann\n")
    assert with_artists(after.tracks, table)[0].artist == "Ann"


def test_ignored_pictures_are_named(music: Path) -> None:
    picture(music / "jazz/cover.png")
    assert read_dataset(music).notices() == ["ignored, pictures next to audio: jazz/cover.png"]
    assert not read_dataset(picture(music / "cover.png").parent).notices()[1:]


@pytest.mark.parametrize("size", [(8, 8), (344, 544)])
def test_a_grey_cover_next_to_audio_is_no_music(music: Path, size: tuple[int, int]) -> None:
    picture(music / "jazz/cover.png", "L", size)
    assert [t.id for t in read_dataset(music).tracks] == ["a", "b", "c", "d"]


def test_a_folder_of_scans_is_no_genre(music: Path) -> None:
    picture(music / "scans/front.png")
    assert {t.genre for t in read_dataset(music).tracks} == {"jazz", "rock"}


def test_audio_and_spectrograms_of_other_genres_are_refused_by_name(music: Path) -> None:
    stored = write_spectrograms(music, tracks=1, genres=("blues",))
    with pytest.raises(DatasetError, match=r"mixes audio .*a\.wav.*blues\.00000\.png"):
        read_dataset(stored)


def test_a_table_that_mixes_both_is_refused_by_name(music: Path) -> None:
    write_spectrograms(music, tracks=1, genres=("blues",))
    table = music / "list.csv"
    table.write_text("path,genre\njazz/a.wav,jazz\nblues/blues.00000.png,blues\n")
    with pytest.raises(DatasetError, match=r"list\.csv: mixes audio .*a\.wav.*blues\.00000\.png"):
        read_dataset(table)


def test_covers_among_spectrograms_are_left_out_by_name(tmp_path: Path) -> None:
    folder = write_spectrograms(tmp_path, tracks=2)
    before = read_dataset(folder)
    for genre in ("low", "high"):
        picture(folder / genre / "cover.png")
    after = read_dataset(folder)
    assert (after.tracks, after.content) == (before.tracks, "power spectrograms")
    assert [(left.id, left.genre) for left in after.left_out] == [
        ("cover", "high"),
        ("cover", "low"),
    ]
    assert np.array(Image.open(after.tracks[0].path)).shape == (544, 344)
