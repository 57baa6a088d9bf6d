"""FMA (Defferrard et al. 2017) in its official layout: clips by number, and a table of them.

Conventions
-----------
`fma_small/000/000002.mp3` is track "2": ids have no leading zeros. `fma_metadata/tracks.csv` has
two header rows (a group and a name), then a row that names the index. A reduced table with the
columns subset, split, track_id, genre_top and genres does as well (`tracks_small.csv`). small is
part of medium, and medium of large; full is large with the whole tracks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from genrescope.audio import AUDIO_SUFFIXES
from genrescope.datasets.dataset import NO_FILE, NO_GENRE, Dataset
from genrescope.datasets.rows import csv_rows, side_of
from genrescope.datasets.tracks import Track
from genrescope.errors import DatasetError

SUBSETS = ("small", "medium", "large", "full")

# The errata of FMA's own wiki, for the clips; in fma_full these tracks are whole.
BAD_CLIPS = {
    **dict.fromkeys(("98565", "98567", "98569"), "a clip of one or two seconds (FMA's errata)"),
    **dict.fromkeys(("99134", "108925", "133297"), "a clip without sound (FMA's errata)"),
}

_TABLES = ("tracks.csv", "tracks_small.csv")
_METADATA = ("fma_metadata", "fma-metadata")
_AUDIO = re.compile(rf"fma[_-]({'|'.join(SUBSETS)})")


@dataclass(frozen=True)
class Place:
    """Where FMA's table is, and its folder of audio, if there is one."""

    table: Path
    audio: Path | None


@dataclass(frozen=True)
class _Row:
    id: str
    genre: str
    split: str
    subset: str
    artist: str | None


def find(root: Path, subset: str | None) -> Place | None:
    """Find table and audio of FMA from either of them or the folder that holds both.

    Raises
    ------
    DatasetError
        When there is FMA audio without its table, or audio of several subsets to choose from.
    """
    if root.is_file():
        is_table = _is_fma_table(root)
        return Place(root, _audio_in(root.resolve().parent.parent, subset)) if is_table else None
    table = _table_in(root)
    if table is not None:
        return Place(table, _audio_in(root.resolve().parent, subset))
    for name in _METADATA:
        table = _table_in(root / name)
        if table is not None:
            return Place(table, _audio_in(root, subset))
    folders = [entry.name for entry in root.glob("*/")]
    if any(re.fullmatch(r"\d{3}", name) for name in folders):
        for name in _METADATA:
            table = _table_in(root.resolve().parent / name)
            if table is not None:
                return Place(table, root)
        folders.append(root.resolve().name)
    if any(map(_AUDIO.fullmatch, folders)):
        raise DatasetError(f"{root}: FMA's audio, but no fma_metadata/tracks.csv next to it")
    return None


def _table_in(folder: Path) -> Path | None:
    tables = (folder / name for name in _TABLES)
    return next((table for table in tables if table.is_file() and _is_fma_table(table)), None)


def _is_fma_table(table: Path) -> bool:
    try:
        header = next(csv_rows(table), [])
    except DatasetError:
        return False
    return {"track_id", "genre_top"} <= set(header) or (
        header[:1] == [""] and {"set", "track"} <= set(header)
    )


def _audio_in(folder: Path, subset: str | None) -> Path | None:
    found = {
        match[1]: entry
        for entry in sorted(folder.glob("*/"))
        if (match := _AUDIO.fullmatch(entry.name))
    }
    if subset is not None and found:
        return found.get(subset) or found[max(found, key=SUBSETS.index)]
    if len(found) > 1:
        names = ", ".join(sorted(found, key=SUBSETS.index))
        raise DatasetError(f"{folder}: holds FMA {names}; name the folder of one, or a subset")
    return next(iter(found.values()), None)


def read(place: Place, *, subset: str | None, genres: frozenset[str] | None) -> Dataset:
    """List FMA's tracks with artist and official split.

    Parameters
    ----------
    place
        As `find` gives it.
    subset
        By default that which the audio folder's name says; if it says none, the files that are
        there, and without audio all tracks of the table.
    genres
        Only these top genres; all if None.

    Raises
    ------
    DatasetError
        When the table is not as it should be, or no track is left.
    """
    if subset is not None and subset not in SUBSETS:
        raise DatasetError(f"FMA has the subsets {', '.join(SUBSETS)}, not {subset!r}")
    named = _AUDIO.fullmatch(place.audio.resolve().name) if place.audio else None
    folder = named[1] if named else None
    wanted = subset or folder
    files = _files(place.audio) if place.audio else None
    tracks: list[Track] = []
    left_out: list[tuple[str, str]] = []
    largest = 0
    for row in _rows(place.table):
        if wanted is not None and _rank(row.subset) > _rank(wanted):
            continue
        if genres is not None and row.genre not in genres:
            continue
        file = place.table if files is None else files.get(row.id)
        if file is None and wanted is None:
            continue
        reason = _why_not(row, file, clips="full" not in (folder, wanted))
        if file is None or reason:
            left_out.append((row.id, reason))
            continue
        side = side_of(row.split, f"{place.table}: track {row.id}")
        largest = max(largest, _rank(row.subset))
        tracks.append(Track(row.id, file, row.genre, row.artist, side))
    if not tracks:
        raise DatasetError(f"{place.audio or place.table}: no tracks in it that the table names")
    name = f"FMA {wanted or SUBSETS[largest]}"
    return Dataset(name, "fma", sorted(tracks, key=lambda track: track.id), left_out)


def _why_not(row: _Row, file: Path | None, *, clips: bool) -> str:
    """Why a track is left out; nothing if it is not."""
    if clips and row.id in BAD_CLIPS:
        return BAD_CLIPS[row.id]
    if file is None:
        return NO_FILE
    return "" if row.genre else NO_GENRE


def _rank(subset: str) -> int:
    return SUBSETS.index(subset) if subset in SUBSETS else len(SUBSETS) - 1


def _files(folder: Path) -> dict[str, Path]:
    """The files of numbered folders, by track id."""
    return {
        str(int(path.stem)): path
        for path in sorted(folder.glob("[0-9][0-9][0-9]/*"))
        if path.stem.isdecimal() and path.suffix.lower() in {*AUDIO_SUFFIXES, ".png"}
    }


def _rows(table: Path) -> Iterator[_Row]:
    """The rows of the official or the reduced table."""
    rows = csv_rows(table)
    header: list[tuple[str, ...]] = [(name,) for name in next(rows, [])]
    if ("track_id",) not in header:
        header = [(*a, b) for a, b in zip(header, next(rows, []), strict=False)]
        header[:1] = [("track_id",)]

    def place(*names: tuple[str, ...]) -> int | None:
        return next((header.index(name) for name in names if name in header), None)

    at = [
        place(("track_id",)),
        place(("track", "genre_top"), ("genre_top",)),
        place(("set", "split"), ("split",)),
        place(("set", "subset"), ("subset",)),
    ]
    artist = place(("artist", "id"), ("artist", "name"))
    found = [column for column in at if column is not None]
    if len(found) < len(at):
        raise DatasetError(f"{table}: wanted are the columns genre_top, split and subset")
    number, genre, split, subset = found
    for row in rows:
        if not row or not row[0] or row[0] == "track_id":  # the row that names the index
            continue
        if len(row) < len(header) or not row[number].isdecimal():
            raise DatasetError(f"{table}: not a track: {','.join(row)[:60]!r}")
        yield _Row(
            str(int(row[number])),
            row[genre].strip(),
            row[split],
            row[subset],
            None if artist is None else row[artist].strip() or None,
        )
