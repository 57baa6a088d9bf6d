"""The artist of an album, read from every kind of tag, keeps the album in one folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mutagen
import numpy as np
import pytest
from mutagen.apev2 import APEv2
from mutagen.id3 import ID3, TALB, TPE1, TPE2, TXXX

from clips import write_wav
from genrescope.datasets import Track
from genrescope.datasets.artists import artists_from_tags
from genrescope.library.files import tags_of
from genrescope.library.rows import Entry
from genrescope.library.sort import plan
from libraries import MODEL, entry, make_library
from tagged import copy_of, encode

# Its name in the tags of each kind of file.
NAMES = {
    "mp3": "TPE2",
    "wav": "TPE2",
    "aiff": "TPE2",
    "flac": "ALBUMARTIST",
    "ogg": "ALBUM ARTIST",
    "opus": "albumartist",
    "m4a": "aART",
    "wma": "WM/AlbumArtist",
    "wv": "Album Artist",
}
ARTISTS = {"m4a": "\xa9ART", "wma": "Author"}


def tag(path: Path, album_artist: str, artist: str | None) -> Path:
    """Give a file an album artist, and an artist or none."""
    file: Any = mutagen.File(path)
    if file.tags is None:
        file.add_tags()
    kind = path.suffix[1:]
    if isinstance(file.tags, ID3):
        file.tags.delall("TPE1")
        file.tags.add(TPE2(encoding=3, text=[album_artist]))
        if artist:
            file.tags.add(TPE1(encoding=3, text=[artist]))
    else:
        name = ARTISTS.get(kind, "artist")
        if name in file.tags:
            del file.tags[name]
        file.tags[NAMES[kind]] = album_artist
        if artist:
            file.tags[name] = artist
    file.save()
    return path


@pytest.mark.parametrize("kind", NAMES)
def test_it_is_read(kind: str, tmp_path: Path) -> None:
    path = copy_of(kind, tmp_path)
    assert tags_of(path).album_artist == ""
    tags = tags_of(tag(path, "Various Artists", "Ann"))
    assert (tags.album_artist, tags.artist) == ("Various Artists", "Ann")


@pytest.mark.parametrize("kind", NAMES)
def test_a_split_by_artist_goes_by_the_tracks_own(kind: str, tmp_path: Path) -> None:
    """By the album's where a track names none, unless that is nobody."""
    found = {}
    for name, tags in {
        "own": ("Band", "Ann"), "none": ("Band", None), "various": ("Various Artists", None),
    }.items():  # fmt: skip
        folder = tmp_path / name
        folder.mkdir()
        path = tag(copy_of(kind, folder), *tags)
        (track,) = artists_from_tags([Track(name, path, "jazz")])
        found[name] = track.artist
    assert found == {"own": "Ann", "none": "Band", "various": None}


def test_second_tags_hold_it_too(tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    encode(path)
    ape = APEv2()
    ape["Album Artist"] = "In APE"
    ape.save(path)
    assert tags_of(path).album_artist == "In APE"
    text = tmp_path / "b.mp3"
    encode(text)
    tags = ID3()
    tags.add(TXXX(encoding=3, desc="ALBUM ARTIST", text=["Of foobar2000"]))
    tags.add(TALB(encoding=3, text=["Album"]))
    tags.save(text)
    assert tags_of(text).album_artist == "Of foobar2000"


@pytest.fixture
def track(tmp_path: Path) -> Callable[..., Entry]:
    def make(name: str, jazz: float = 0.9, **tags: object) -> Entry:
        file = tmp_path / "music" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
        probabilities = np.array([jazz, 1 - jazz], np.float32)
        return entry(
            name, np.ones(16), root=str(tmp_path / "music"), probabilities=probabilities,
            genre="jazz" if jazz > 0.5 else "rock", confidence=max(jazz, 1 - jazz), **tags,
        )  # fmt: skip

    return make


def targets(entries: list[Entry], **settings: Any) -> dict[str, str]:
    planned = plan(entries, Path("/sorted"), "copy", genres=MODEL.genres, **settings)
    return {each.entry.path: str(each.file.relative_to("/sorted")) for each in planned.placed}


class TestSort:
    """genrescope.library.sort"""

    @pytest.mark.parametrize("by", ["track", "album"])
    def test_a_compilation_is_one_folder(self, track: Callable[..., Entry], by: str) -> None:
        album = {"album": "Hits", "album_artist": "Various Artists"}
        tracks = [
            track(f"{number}.mp3", artist=name, title=f"Song {number}", **album)
            for number, name in enumerate(["Ann", "Bob", "Bob", "Bob"])
        ]
        found = targets(tracks, by=by, template="{genre}/{artist}/{album}/{file}")
        assert {Path(each).parent for each in found.values()} == {Path("Jazz/Various Artists/Hits")}
        # In a file's name it is the track's own.
        found = targets(tracks, by=by, template="{genre}/{artist}/{artist} - {title}")
        assert found["0.mp3"] == "Jazz/Various Artists/Ann - Song 0.mp3"

    @pytest.mark.parametrize("by", ["track", "album"])
    def test_guests_have_no_folder(self, track: Callable[..., Entry], by: str) -> None:
        names = ["Ann", "Ann feat. Bob", "Cleo & Ann"]
        tracks = [
            track(f"{name}.mp3", artist=name, album="A", album_artist="Ann") for name in names
        ]
        found = targets(tracks, by=by, template="{genre}/{artist}/{album}/{file}")
        assert {Path(each).parent for each in found.values()} == {Path("Jazz/Ann/A")}

    def test_albums_of_one_title_in_one_folder(self, track: Callable[..., Entry]) -> None:
        """Two albums called Greatest Hits are two, whose genres don't meet."""
        tracks = [
            track("1.mp3", 0.9, album="Greatest Hits", album_artist="Ann"),
            track("2.mp3", 0.6, album="Greatest Hits", album_artist="Ann"),
            track("3.mp3", 0.1, album="Greatest Hits", album_artist="Bob"),
        ]
        assert targets(tracks, by="album") == {
            "1.mp3": "Jazz/Ann/Greatest Hits/1.mp3",
            "2.mp3": "Jazz/Ann/Greatest Hits/2.mp3",
            "3.mp3": "Rock/Bob/Greatest Hits/3.mp3",
        }

    def test_a_track_without_it_belongs_to_the_album(self, track: Callable[..., Entry]) -> None:
        tracks = [
            track("1.mp3", artist="Bob", album="A", album_artist="Ann"),
            track("2.mp3", artist="Bob", album="A"),
        ]
        assert [*targets(tracks, by="album").values()] == ["Jazz/Ann/A/1.mp3", "Jazz/Ann/A/2.mp3"]


def test_a_library_stores_it(tmp_path: Path) -> None:
    pytest.importorskip("lancedb")
    rows = [entry("a.mp3", np.ones(16), album_artist="Ann"), entry("b.mp3", np.ones(16))]
    library = make_library(tmp_path / "library", rows)
    stored = {each.path: each for each in library.entries()}
    assert [stored[name].album_artist for name in ("a.mp3", "b.mp3")] == ["Ann", None]
    assert stored["a.mp3"].to_dict()["album_artist"] == "Ann"


@pytest.mark.slow
def test_a_scan_completes_the_rows_of_older_versions(tmp_path: Path) -> None:
    pytest.importorskip("lancedb")
    from dataclasses import replace

    from genrescope.library.scan import scan

    path = tmp_path / "music" / "a.wav"
    path.parent.mkdir()
    tag(write_wav(path), "Ann", "Bob")
    place = tmp_path / "library"
    library = scan([path.parent], library=place).library
    (row,) = library.entries()
    assert row.album_artist == "Ann"
    library.put([replace(row, album_artist=None)])
    report = scan([path.parent], library=place)
    assert (report.counts.unchanged, report.counts.classified) == (1, 0)
    assert [each.album_artist for each in report.library.entries()] == ["Ann"]
