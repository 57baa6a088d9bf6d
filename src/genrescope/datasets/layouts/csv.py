"""A data set as a table: path and genre and, if known, artist and split of each track.

Conventions
-----------
Paths are relative to the table's folder; slashes may lean either way, and URLs of local files
(`file:///…`) are taken, too. A track's id is its file's
name without suffix, or the whole path without suffix where names repeat.
"""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from genrescope.audio.addresses import local_path
from genrescope.audio.files import identity
from genrescope.datasets.artists import known_artist
from genrescope.datasets.csv_files import CsvTable, Row, is_nothing, subset_of
from genrescope.datasets.dataset import NO_FILE, NO_GENRE, Dataset, LeftOut
from genrescope.datasets.layout import About, Layout
from genrescope.datasets.tracks import Track
from genrescope.datasets.walk import mixed
from genrescope.errors import DatasetError, printable

PATH_COLUMNS = ("path", "file", "filename", "file_name", "filepath", "file_path", "location")
GENRE_COLUMNS = ("genre", "label", "class", "category", "genre_top")
ARTIST_COLUMNS = ("artist", "artist_name", "artist_group", "artist_id")


class Listing(Layout):
    """A CSV file that lists the tracks."""

    about = About(
        title="Table of tracks",
        description="Music that lies in any order: a table says which file is of which genre. "
        "Commas, semicolons or tabs; artist and split if known.",
        files="tracks.csv with the columns path, genre and, if known, artist and split",
    )
    generic = True

    def detect(self, path: Path) -> bool:
        """Any file."""
        return path.is_file()

    def read(self, path: Path) -> Dataset:
        """List the tracks; a file that is not there and a row without a genre are left out."""
        table = CsvTable(path)
        path_at = table.required("files", PATH_COLUMNS)
        genre_at = table.required("genres", GENRE_COLUMNS)
        artist_at, split_at = table.column(ARTIST_COLUMNS), table.column(("split",))
        rows: dict[Path, Row] = {}
        lines: dict[tuple[int, int] | Path, tuple[int, str]] = {}
        for row in table:
            file = _file(row, path_at, table.header[path_at])
            # By whatever path or link: a file twice could be trained on and tested on.
            first, name = lines.setdefault(identity(file), (row.line, row.cells[path_at]))
            if first != row.line:
                again = "listed twice, first" if name == row.cells[path_at] else f"the file {name}"
                raise row.error(f"{row.cells[path_at]} is {again} in line {first}")
            rows[file] = row
        tracks: list[Track] = []
        left_out: list[LeftOut] = []
        for name, (file, row) in zip(_ids(rows), rows.items(), strict=True):
            genre = row.cells[genre_at]
            artist = None if artist_at is None else known_artist(row.cells[artist_at])
            split = None if split_at is None else subset_of(row, split_at)
            if len(genre.splitlines()) > 1:
                raise row.error("a genre with a line break", table.header[genre_at])
            if is_nothing(genre):
                left_out.append(LeftOut(name, NO_GENRE))
            elif not _is_file(file):
                left_out.append(LeftOut(name, NO_FILE, genre))
            else:
                tracks.append(Track(name, file, genre, artist, split))
        if not tracks:
            raise _nothing(path, table, rows, left_out, path_at)
        return _dataset(path, tracks, left_out)


def _file(row: Row, index: int, column: str) -> Path:
    """The file that a cell names, whether it is there or not."""
    cell = row.cells[index]
    folder = row.table.parent
    if is_nothing(cell) and not (cell and _is_file(folder / cell)):
        raise row.error("expected the path of a file, found nothing", column)
    cell = local_path(cell)
    file = folder / cell
    if "\\" in cell and not _is_file(file):
        file = folder / cell.replace("\\", "/")
    if os.path.isdir(file):  # noqa: PTH112 - as in _is_file
        raise row.error(f"{cell!r} is a folder, expected a file", column)
    return file


def _is_file(path: Path) -> bool:
    """Whether there is such a file; False for names that no file can have."""
    return os.path.isfile(path)  # noqa: PTH113 - Path's raises where a name is too long


def _ids(rows: dict[Path, Row]) -> list[str]:
    """The id of each file: its name without suffix, or the whole path where names repeat."""
    if not rows:
        return []
    folder = next(iter(rows.values())).table.parent
    below = [file.relative_to(folder) if file.is_relative_to(folder) else file for file in rows]
    paths = [PurePosixPath(file.as_posix()).with_suffix("") for file in below]
    unique = len({path.name for path in paths}) == len(paths)
    ids = [path.name if unique else str(path) for path in paths]
    if len(set(ids)) < len(ids):
        first: dict[str, Row] = {}
        for name, row in zip(ids, rows.values(), strict=True):
            if name in first:
                raise row.error(f"{name} is listed twice, first in line {first[name].line}")
            first[name] = row
    return ids


def _nothing(
    path: Path, table: CsvTable, rows: dict[Path, Row], left_out: list[LeftOut], path_at: int
) -> DatasetError:
    """The error of a table without a track that can be used."""
    if not left_out:
        return DatasetError(f"{path}: no tracks in it")
    text = f"no tracks in the table; none of the {len(left_out)} it lists can be used"
    for left, row in zip(left_out, rows.values(), strict=True):
        if left.reason == NO_FILE:
            named = f"{NO_FILE}: {printable(row.cells[path_at])} (from the folder {path.parent})"
            return row.error(f"{named}; {text}", table.header[path_at])
    return DatasetError(f"{path}: {text}")


def _dataset(table: Path, tracks: list[Track], left_out: list[LeftOut]) -> Dataset:
    pictures = [track.path for track in tracks if track.path.suffix.lower() == ".png"]
    if pictures and len(pictures) < len(tracks):
        audio = [track.path for track in tracks if track.path.suffix.lower() != ".png"]
        raise DatasetError(mixed(table, audio, pictures))
    by_id = sorted(tracks, key=lambda track: track.id)
    return Dataset(
        table.resolve().parent.name,
        "csv",
        by_id,
        sorted(left_out),
        "power spectrograms" if pictures else "audio",
    )


LAYOUT = Listing()
