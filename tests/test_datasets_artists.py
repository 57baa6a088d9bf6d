"""Artists from the tags of files, where no table and no data set names them."""

from __future__ import annotations

import json
from pathlib import Path

import mutagen
import pytest
import soundfile
from mutagen.id3 import ID3, TPE1
from typer.testing import CliRunner

from clips import RATE, music
from genrescope.cli.datasets import app
from genrescope.datasets import Track, group_tracks, read_dataset, with_artists
from genrescope.datasets.artists import artists_from_tags
from genrescope.errors import DatasetError
from tagged import encode


def tagged(path: Path, artist: str | None, seed: int = 0) -> Path:
    """A clip that names its artist, in the way of its format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, music(1.0, seed=seed), RATE)
    if artist is None:
        return path
    if path.suffix == ".wav":
        file = mutagen.File(path)
        file.add_tags()
        file.tags.add(TPE1(encoding=3, text=[artist]))
        file.save()
    elif path.suffix == ".mp3":
        tags = ID3()
        tags.add(TPE1(encoding=3, text=[artist]))
        tags.save(path)
    else:
        file = mutagen.File(path)
        file["artist"] = [artist]
        file.save()
    return path


@pytest.mark.parametrize("suffix", [".flac", ".ogg", ".mp3", ".wav"])
def test_artists_are_read_from_tags(tmp_path: Path, suffix: str) -> None:
    names = ["Ann", "ann", "Ann feat. Bob", "Bob", "Various Artists", None, "Ann (ft. Cleo)"]
    for number, name in enumerate(names):
        tagged(tmp_path / f"jazz/{number}{suffix}", name)
    found = [track.artist for track in read_dataset(tmp_path).tracks]
    assert found == ["Ann", "Ann", "Ann", "Bob", None, None, "Ann"]


def test_a_table_comes_before_tags(tmp_path: Path) -> None:
    tagged(tmp_path / "jazz/a.flac", "Ann")
    tagged(tmp_path / "jazz/b.flac", "Ann")
    (tmp_path / "artists.csv").write_text("track,artist\nb,Bob\n")
    tracks = read_dataset(tmp_path, artists=tmp_path / "artists.csv").tracks
    assert [track.artist for track in tracks] == [None, "Bob"]
    (tmp_path / "list.csv").write_text("path,genre,artist\njazz/a.flac,jazz,Cleo\n")
    assert read_dataset(tmp_path / "list.csv").tracks[0].artist == "Cleo"


@pytest.mark.parametrize(
    ("header", "names", "expected"),
    [
        ("filename", ["song.mp3", "b.mp3"], ["Ann", "Bob", None]),
        ("path", ["pop/song.mp3", "x\\y\\b.FLAC"], ["Ann", "Bob", None]),
        ("file", ["b.mp3", "rock/1.mp3"], [None, "Ann", "Bob"]),
        ("track", ["song", "rock/1"], ["Ann", None, "Bob"]),
        # Which of the two is meant is not known.
        ("file", ["jazz/song.mp3", "pop/song.mp3", "b.mp3"], [None, "Cleo", None]),
        # An id as it stands comes first.
        ("file", ["x/song.mp3", "song", "b.mp3"], ["Bob", "Cleo", None]),
    ],
)
def test_a_table_may_name_files(
    tmp_path: Path, header: str, names: list[str], expected: list[str | None]
) -> None:
    rows = zip(names, ("Ann", "Bob", "Cleo"), strict=False)
    text = f"{header},artist\n" + "".join(f"{name},{artist}\n" for name, artist in rows)
    (tmp_path / "artists.csv").write_text(text)
    tracks = [Track(name, Path(f"{name}.mp3"), "pop") for name in ("song", "b", "rock/1")]
    found = with_artists(tracks, tmp_path / "artists.csv")
    assert [track.artist for track in found] == expected


def test_an_empty_list_of_artists_is_no_artist(tmp_path: Path) -> None:
    encode(tmp_path / "a.m4a")
    file = mutagen.File(tmp_path / "a.m4a")
    file["\xa9ART"] = []
    file.save()
    assert mutagen.File(tmp_path / "a.m4a").tags["\xa9ART"] == []
    tracks = [
        Track("a", tmp_path / "a.m4a", "jazz"),
        Track("b", tagged(tmp_path / "b.flac", "Bob"), "jazz"),
    ]
    assert [track.artist for track in artists_from_tags(tracks)] == [None, "Bob"]


def test_damaged_files_have_no_artist(tmp_path: Path) -> None:
    tagged(tmp_path / "jazz/a.flac", "Ann")
    for name, content in {"b.mp3": b"", "c.flac": b"fLaC\0", "d.m4a": b"\0" * 64}.items():
        (tmp_path / "jazz" / name).write_bytes(content)
    assert [t.artist for t in read_dataset(tmp_path).tracks] == ["Ann", None, None, None]


def test_a_split_by_artist_uses_them(tmp_path: Path) -> None:
    for number, name in enumerate(["Ann", "Bob", "Ann", None]):
        tagged(tmp_path / f"jazz/{number}.flac", name)
    groups = group_tracks(read_dataset(tmp_path).tracks, by_artist=True)
    assert groups["0"] == groups["2"] != groups["1"]
    (tmp_path / "none").mkdir()
    soundfile.write(tagged(tmp_path / "none/jazz/x.flac", None), music(1.0), RATE)
    with pytest.raises(DatasetError, match="none is known"):
        group_tracks(read_dataset(tmp_path / "none").tracks, by_artist=True)


def test_check_counts_them(tmp_path: Path) -> None:
    for number, name in enumerate(["Ann", "Bob", "Ann", None]):
        tagged(tmp_path / f"jazz/{number}.flac", name, seed=number)
    arguments = ["check", str(tmp_path), "--format"]
    found = json.loads(CliRunner().invoke(app, [*arguments, "json"]).stdout)
    assert (found["artists"], found["without_artist"]) == (2, 1)
    text = CliRunner().invoke(app, [*arguments, "table"]).stdout
    assert "artists: 2 (1 track without)" in text
