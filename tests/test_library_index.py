"""The index of a large library: what it finds is what looking at every track finds."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from clips import write_wav
from genrescope.library import index as index_module
from genrescope.library.corrections import correct
from genrescope.library.index import Index, refresh
from genrescope.library.rows import Entry
from genrescope.library.scan import scan
from genrescope.library.similar import Query, Space, TrackFilter
from genrescope.library.store import Library, read_table
from libraries import entry, make_library

pytest.importorskip("lancedb")

COUNT = 3000


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_module, "INDEX_FROM", 1000)


def tracks() -> list[Entry]:
    """Two clouds of tracks; most by one artist, 5 of a rare genre, one gone, one silent."""
    random = np.random.default_rng(0)
    vectors = 5 + random.standard_normal((COUNT, 16)) * np.exp(
        0.3 * random.standard_normal((COUNT, 1))
    )
    vectors[::2, 0] += 3
    made = [
        entry(
            f"{i}.mp3",
            vector,
            title=f"Song {i}",
            artist="Most" if i % 100 else f"Artist {i % 3}",
            genre="rock" if i < 5 else "jazz",
            year=1900 + i % 100,
        )
        for i, vector in enumerate(vectors)
    ]
    made.append(entry("gone.mp3", vectors[7], deleted=True))
    return [*made, entry("silent.mp3", np.zeros(16), genre=None)]


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("index") / "library"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index_module, "INDEX_FROM", 1000)
        library = make_library(folder, tracks())
        library.compact()
        assert refresh(library)
    return folder


@pytest.fixture
def folder(stored: Path, tmp_path: Path) -> Path:
    shutil.copytree(stored, tmp_path / "library")
    return tmp_path / "library"


def exact(library: Library) -> Space:
    """A space that has read everything, and so asks no index."""
    space = Space(library)
    assert space.entries
    return space


def paths(found: list[tuple[Entry, float]]) -> list[str]:
    return [each.path for each, _ in found]


def is_unread(space: Space) -> bool:
    return "entries" not in space.__dict__


WISHES = [
    TrackFilter(),
    TrackFilter(genre="ROCK"),
    TrackFilter(genre="polka"),
    TrackFilter(years=(1950, 1951)),
    TrackFilter(genre="jazz", years=(1950, 1990), not_artist="artist 0"),
    # Nearly all of the nearest are refused: it has to look on until it has enough.
    TrackFilter(not_artist="most"),
    TrackFilter(years=(2050, 2051)),
]


@pytest.mark.parametrize("wanted", WISHES)
def test_it_finds_what_looking_at_every_track_finds(folder: Path, wanted: TrackFilter) -> None:
    library = Library.open(folder)
    everything = exact(library)
    for name in ("17.mp3", "2998.mp3"):
        space = Space(library)
        query = space.find(name)
        found, true = space.nearest(query, 20, wanted), everything.nearest(query, 20, wanted)
        assert is_unread(space)
        assert paths(found) == paths(true)
        assert [value for _, value in found] == pytest.approx([v for _, v in true], abs=1e-6)


def test_it_finds_corrected_genres(folder: Path) -> None:
    library = Library.open(folder)
    by_content = {entry.content: entry for entry in library.entries()}
    [first, second] = [by_content["40.mp3"], by_content["2.mp3"]]
    try:
        correct(library, [first], "rock")
        correct(library, [second], "jazz")
        space = Space(library)
        found = space.nearest(space.find("17.mp3"), COUNT, TrackFilter(genre="rock"))
        assert is_unread(space)
        assert "40.mp3" in paths(found)
        assert "2.mp3" not in paths(found)
        assert {entry.effective_genre for entry, _ in found} == {"rock"}
        assert paths(found) == paths(
            exact(library).nearest(space.find("17.mp3"), COUNT, TrackFilter(genre="rock"))
        )
    finally:
        correct(library, [first, second], None)


def test_recall(folder: Path) -> None:
    library = Library.open(folder)
    space, everything = Space(library), exact(library)
    shared = 0
    for place in range(0, COUNT, 100):
        here = everything.entries[place]
        query = Query("", everything.directions[place].astype(np.float64), here)
        shared += len({*paths(space.nearest(query, 10))} & {*paths(everything.nearest(query, 10))})
    assert is_unread(space)
    assert shared >= 0.99 * 10 * COUNT / 100


def test_of_copies_the_same_one_is_found(folder: Path) -> None:
    library = Library.open(folder)
    copied = tracks()[18]
    # More than are asked for at first: it has to look on.
    library.put([replace(copied, path=f"copy {i}.mp3") for i in range(300)])
    assert refresh(library)
    space, everything = Space(library), exact(library)
    found = space.nearest(space.find("17.mp3"), COUNT)
    assert is_unread(space)
    assert len({each.content for each, _ in found}) == len(found) == COUNT - 1
    near = Query("", space.find("18.mp3").direction, space.find("17.mp3").entry)
    for one in (space, everything):
        ten = one.nearest(near, 10)
        assert len(ten) == 10
        assert ten[0][0].content == copied.content
        assert len({each.content for each, _ in ten}) == 10


def test_tracks_are_found_by_file_path_and_name(folder: Path) -> None:
    space = Space(Library.open(folder))
    for name in ("/music/17.mp3", "17.mp3", "Most - Song 17"):
        query = space.find(name)
        assert query.entry is not None
        assert query.entry.path == "17.mp3"
    assert is_unread(space)


def test_an_index_of_another_state_is_not_used(folder: Path) -> None:
    library = Library.open(folder)
    new = entry("new.mp3", tracks()[17].embedding)
    open_before = Space(library)
    query = open_before.find("17.mp3")
    library.put([new])
    library.remove([each for each in tracks() if each.path == "18.mp3"])
    assert Index.open(library) is None
    for space in (open_before, Space(library), Space(Library.open(folder))):
        found = paths(space.nearest(query, COUNT))
        assert found[0] == "new.mp3"
        assert "18.mp3" not in found
        assert len(found) == COUNT - 1
    assert refresh(library)
    again = Space(Library.open(folder))
    assert paths(again.nearest(query, 1)) == ["new.mp3"]
    assert is_unread(again)
    assert not refresh(library)


def test_what_a_kill_leaves_of_an_index_is_right_and_is_mended(folder: Path) -> None:
    library = Library.open(folder)
    table = library.further_table("index")
    for index in table.list_indices():
        table.drop_index(index.name)
    space = Space(library)
    query = space.find("17.mp3")
    assert paths(space.nearest(query, 10)) == paths(exact(library).nearest(query, 10))
    assert refresh(library)
    assert library.further_table("index").list_indices()


def test_small_libraries_have_none(tmp_path: Path) -> None:
    library = make_library(tmp_path / "library", tracks()[:999])
    assert not refresh(library)
    assert read_table(library, "index") is None


def test_a_scan_makes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_module, "INDEX_FROM", 2)
    (tmp_path / "m").mkdir()
    for number in range(3):
        write_wav(tmp_path / "m" / f"{number}.wav", 3, seed=number, pitch=200 + 50 * number)
    library = scan([tmp_path / "m"], library=tmp_path / "library").library
    assert Index.open(library) is not None
    before = library.further_table("index").version
    scan([tmp_path / "m"], library=tmp_path / "library")
    assert library.further_table("index").version == before
    (tmp_path / "m" / "0.wav").rename(tmp_path / "m" / "moved.wav")
    library = scan([tmp_path / "m"], library=tmp_path / "library").library
    space = Space(library)
    assert is_unread(space)
    assert {*paths(space.nearest(space.find("1.wav"), 5))} == {"moved.wav", "2.wav"}


def test_a_library_made_anew_does_not_take_an_old_index(folder: Path) -> None:
    shutil.rmtree(folder / "tracks.lance")
    made = make_library(folder, [])
    vectors: NDArray = np.random.default_rng(1).standard_normal((5, 16))
    while made.version < 10:
        made.put([entry(f"{made.version}", vectors[made.version % 5])])
        assert Index.open(made) is None


def test_further_tables_keep_their_metadata(folder: Path) -> None:
    import pyarrow as pa

    library = Library.open(folder)
    assert read_table(library, "map") is None
    for number in (1, 2):
        table = pa.table({"x": [float(number)]}, metadata={"made": str(number)})
        library.write_table("map", table)
        back = read_table(Library.open(folder), "map")
        assert back is not None
        assert back.to_pydict() == {"x": [number]}
        assert back.schema.metadata == {b"made": str(number).encode()}
    with pytest.raises(ValueError, match="tracks are written"):
        library.write_table("tracks", table)


def test_an_index_without_all_columns_is_not_used_but_made_anew(folder: Path) -> None:
    library = Library.open(folder)
    table = read_table(library, "index")
    assert table is not None
    library.write_table("index", table.drop(["content"]))
    assert Index.open(library) is None
    assert refresh(library)
    assert Index.open(library) is not None
