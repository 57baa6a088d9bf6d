"""A data set as a CSV file: path and genre and, if known, artist and split of each track.

Conventions
-----------
Paths are relative to the CSV file's folder; `file` is another name of that column. A track's id is
its file's name without suffix, or the whole path without suffix where names repeat.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path, PurePosixPath

from genrescope.datasets.dataset import NO_FILE, NO_GENRE, Dataset
from genrescope.datasets.rows import csv_rows, first_of, side_of
from genrescope.datasets.tracks import Track
from genrescope.errors import DatasetError


def read(table: Path, *, genres: frozenset[str] | None) -> Dataset:
    """List the tracks of a CSV file; a file that is not there is left out.

    Raises
    ------
    DatasetError
        When the columns are missing, a row is short, a file stands there twice, or no track is
        left.
    """
    rows = csv_rows(table)
    header = [name.strip().lower() for name in next(rows, [])]
    path_at, genre_at = first_of(("path", "file"), header), first_of(("genre",), header)
    if path_at is None or genre_at is None:
        raise DatasetError(
            f"{table}: wanted are the columns path and genre, and if known artist and split"
        )
    artist_at, split_at = first_of(("artist",), header), first_of(("split",), header)
    found: list[Track] = []
    for number, row in enumerate(rows, 2):
        if not any(row):
            continue
        if len(row) != len(header):
            raise DatasetError(f"{table}: row {number} has {len(row)} of {len(header)} columns")
        artist = None if artist_at is None else row[artist_at].strip() or None
        side = None if split_at is None else side_of(row[split_at], f"{table}: row {number}")
        found.append(Track(row[path_at], Path(row[path_at]), row[genre_at].strip(), artist, side))
    return _dataset(table, _with_ids(table, found), genres)


def _with_ids(table: Path, found: list[Track]) -> list[Track]:
    """Name the tracks, and find their files."""
    names = [PurePosixPath(track.id.replace("\\", "/")).with_suffix("") for track in found]
    whole = len({name.name for name in names}) < len(names)
    ids = [str(name) if whole else name.name for name in names]
    twice, times = Counter(ids).most_common(1)[0] if ids else ("", 0)
    if times > 1:
        raise DatasetError(f"{table}: {twice} stands there twice")
    return [
        Track(name, table.parent / track.path, track.genre, track.artist, track.split)
        for name, track in zip(ids, found, strict=True)
    ]


def _dataset(table: Path, found: list[Track], genres: frozenset[str] | None) -> Dataset:
    tracks, left_out = [], []
    for track in sorted(found, key=lambda track: track.id):
        if not track.genre:
            left_out.append((track.id, NO_GENRE))
        elif genres is not None and track.genre not in genres:
            continue
        elif not track.path.is_file():
            left_out.append((track.id, NO_FILE))
        else:
            tracks.append(track)
    if not tracks:
        why = f"; none of {len(left_out)} files is there" if left_out else ""
        raise DatasetError(f"{table}: no tracks in it{why}")
    return Dataset(table.resolve().parent.name, "csv", tracks, left_out)
