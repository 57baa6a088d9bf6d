"""Feature tables: vectors of tracks that were computed elsewhere.

Conventions
-----------
A table has one row of numbers a track, or several where a row is a segment; rows of one track stay
in their order. Track ids are as `read_dataset` gives them: a file's name without folders and suffix
(with them, where names repeat), FMA's numbers without leading zeros. The rows of the Kaggle
copy's `features_3_sec.csv`, `blues.00000.0.wav` and so on, are segments of the track blues.00000.
CSV files may have any of the separators and spellings that `genrescope.datasets.csv_files` knows.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genrescope.datasets.csv_files import CsvTable, csv_rows
from genrescope.datasets.file_names import track_ids
from genrescope.datasets.layouts import builtin_repeats
from genrescope.datasets.layouts.gtzan import GTZAN_GENRES
from genrescope.datasets.tracks import Track, mark_repeats
from genrescope.errors import DatasetError
from genrescope.untrusted import open_npz
from genrescope.wording import counted

_NUMBER_COLUMNS = ("track_id",)
_NAME_COLUMNS = ("filename", "track")
_GENRE_COLUMNS = ("label", "genre")
_NO_FEATURES = ("length",)  # samples of the file, in the tables of the Kaggle copy of GTZAN
_SEGMENT = re.compile(rf"((?:{'|'.join(GTZAN_GENRES)})\.\d{{5}})\.\d+")
# The published MusiCNN activations of GTZAN are a file for each subset.
_SUBSET_OF_FILE = {"training_": "train", "evaluation_": "test"}


@dataclass(frozen=True)
class Table:
    """Vectors of tracks, with genres and splits where the files state them.

    Attributes
    ----------
    vectors
        float32 `[rows, size]` by track id, all finite; one row, or one a segment.
    genres
        By track id; empty where the files name none.
    split
        Subset by track id, "train" or "test"; empty where the files name none.
    columns
        Names of the numbers `[size]`; empty where the files name none.
    files
        The file that each track id comes from.
    """

    vectors: dict[str, NDArray[np.float32]]
    genres: dict[str, str]
    split: dict[str, str]
    columns: list[str]
    files: dict[str, Path]

    def tracks(self) -> list[Track]:
        """The table as a data set by itself, sorted by id; a track's file is the table.

        Raises
        ------
        DatasetError
            When it does not name the genres.
        """
        nameless = next((track for track in self.vectors if track not in self.genres), None)
        if nameless is not None:
            raise DatasetError(
                f"{self.files[nameless]}: does not name the genre of track {nameless}"
            )
        tracks = [
            Track(track, self.files[track], self.genres[track], split=self.split.get(track))
            for track in sorted(self.vectors)
        ]
        return mark_repeats(tracks, builtin_repeats())


@dataclass(frozen=True)
class _Rows:
    """One file: ids `[n]`, values `[n, size]`, and if known genres `[n]` and columns `[size]`."""

    ids: list[str]
    values: NDArray[np.float32]
    genres: list[str] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)
    subset: str | None = None


def read_table(paths: Sequence[str | PathLike[str]]) -> Table:
    """Read feature tables and put their rows together.

    A file is one of these:

    - `.npz` with `track_id` `[n]` and `X` `[n, size]`, if known `columns` `[size]`;
    - `.npz` with `IDS` `[n]`, the track of each segment, and `X` `[n, size]`, if known `Y` `[n]`:
      genres by name, or GTZAN's ten by number in alphabetical order. Files called `training_…`
      and `evaluation_…` are the training and the test subset;
    - `.csv` with a column filename, track or track_id, if known label or genre, and numbers;
    - FMA's `features.csv`, with its three header rows.

    Parameters
    ----------
    paths
        Files with the same columns and different tracks.

    Raises
    ------
    DatasetError
        When a file is none of these or holds a number that is not finite, files do not fit
        together, or a track is in two of them.
    """
    if not paths:
        raise DatasetError("no feature table was named")
    table = Table({}, {}, {}, [], {})
    for name in paths:
        path = Path(name)
        rows = _read_npz(path) if path.suffix.lower() == ".npz" else _read_csv(path)
        _validate(path, rows)
        _join(table, path, rows)
    return table


def _read_npz(path: Path) -> _Rows:
    try:
        with open_npz(path) as arrays:
            key = next((name for name in ("track_id", "IDS") if name in arrays), None)
            if key is None or "X" not in arrays:
                raise DatasetError(f"{path}: expected the arrays X and track_id, or X and IDS")
            values = arrays["X"].astype(np.float32)
            names = arrays[key].astype(str).tolist()
            labels = arrays["Y"] if "Y" in arrays else np.zeros(0, str)
            columns = arrays["columns"].astype(str).tolist() if "columns" in arrays else []
    except (OSError, EOFError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise DatasetError(f"{path}: not a readable .npz file: {error}") from None
    subset = next((s for start, s in _SUBSET_OF_FILE.items() if path.name.startswith(start)), None)
    ids = _numbers(names) if key == "track_id" else _names(path, names)
    return _Rows(ids, values, _genre_names(path, labels), columns, subset)


def _genre_names(path: Path, labels: NDArray[Any]) -> list[str]:
    """Genres by name; numbers are GTZAN's, in alphabetical order."""
    if not np.issubdtype(labels.dtype, np.integer):
        return [str(label) for label in labels]
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < len(GTZAN_GENRES):
        raise DatasetError(f"{path}: Y has numbers beyond GTZAN's {len(GTZAN_GENRES)} genres")
    return [GTZAN_GENRES[int(label)] for label in labels]


def _read_csv(path: Path) -> _Rows:
    table = CsvTable(path)
    if table.header[:1] == ["feature"]:
        return _read_fma(path)
    at = table.required("tracks", (*_NAME_COLUMNS, *_NUMBER_COLUMNS))
    genre = table.column(_GENRE_COLUMNS)
    numbers = [
        i for i, n in enumerate(table.names) if i not in (at, genre) and n not in _NO_FEATURES
    ]
    ids, genres, values = [], [], []
    for row in table:
        ids.append(row.cells[at])
        genres += [] if genre is None else [row.cells[genre]]
        try:
            values.append(np.array([row.cells[i] for i in numbers], np.float32))
        except ValueError:
            bad = next(i for i in numbers if not _is_number(row.cells[i]))
            problem = f"expected a number, found {row.cells[bad]!r}"
            raise row.error(problem, table.header[bad]) from None
    is_number = table.names[at] in _NUMBER_COLUMNS
    ids = _numbers(ids) if is_number else _names(path, ids)
    stacked = np.stack(values) if values else np.zeros((0, len(numbers)), np.float32)
    return _Rows(ids, stacked, genres, [table.header[i] for i in numbers])


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _read_fma(path: Path) -> _Rows:
    """FMA's descriptors: header rows of feature, statistic and number, then one row a track."""
    header: list[list[str]] = []
    for row in csv_rows(path):
        if row.cells[:1] and row.cells[0].isdecimal():
            break
        header.append(row.cells)
    if len(header) < 3:
        raise DatasetError(f"{path}: expected three header rows, found {len(header)}")
    try:
        # Whole numbers are exact in float32 up to 16 million, and the last track is 155 320.
        table = np.loadtxt(path, np.float32, delimiter=",", skiprows=len(header), ndmin=2)
    except ValueError as error:
        raise DatasetError(f"{path}: {error}") from None
    columns = ["_".join(names) for names in zip(*(row[1:] for row in header[:3]), strict=False)]
    return _Rows([str(int(number)) for number in table[:, 0]], table[:, 1:], [], columns)


def _numbers(names: Sequence[str]) -> list[str]:
    """FMA's ids without leading zeros; others as they are."""
    return [str(int(name)) if name.isdecimal() else name for name in names]


def _names(path: Path, files: Sequence[str]) -> list[str]:
    """Track ids of file names; those of the segments of a track of GTZAN are the track's."""
    try:
        ids = track_ids(files)
    except ValueError as error:
        raise DatasetError(f"{path}: {error}") from None
    return [m[1] if (m := _SEGMENT.fullmatch(name)) else name for name in ids]


def _validate(path: Path, rows: _Rows) -> None:
    if rows.values.ndim != 2 or len(rows.values) != len(rows.ids):
        raise DatasetError(
            f"{path}: {counted(len(rows.ids), 'track id')}, but numbers of shape "
            f"{rows.values.shape}; expected one row of numbers for each id"
        )
    if not rows.values.size:
        raise DatasetError(f"{path}: no rows of numbers in it")
    if rows.genres and len(rows.genres) != len(rows.ids):
        raise DatasetError(
            f"{path}: {counted(len(rows.genres), 'genre')} for {counted(len(rows.ids), 'row')}"
        )
    if rows.columns and len(rows.columns) != rows.values.shape[1]:
        names, columns = len(rows.columns), rows.values.shape[1]
        raise DatasetError(f"{path}: {counted(names, 'name')} for {counted(columns, 'column')}")
    bad = np.argwhere(~np.isfinite(rows.values))
    if len(bad):
        row, column = (int(index) for index in bad[0])
        name = rows.columns[column] if rows.columns else f"column {column + 1}"
        raise DatasetError(f"{path}: track {rows.ids[row]}: {name} is not a finite number")


def _join(table: Table, path: Path, rows: _Rows) -> None:
    """Add the rows of one more file to the table."""
    if table.vectors:
        size = next(iter(table.vectors.values())).shape[1]
        if rows.values.shape[1] != size or rows.columns != table.columns:
            raise DatasetError(f"{path}: its columns are not those of the first file")
    table.columns[:] = rows.columns
    rows_of: dict[str, list[int]] = {}
    for index, track in enumerate(rows.ids):
        rows_of.setdefault(track, []).append(index)
    for track, at in rows_of.items():
        if track in table.vectors:
            raise DatasetError(f"track {track} is in {table.files[track]} and in {path}")
        genres = {rows.genres[index] for index in at} if rows.genres else set()
        if len(genres) > 1:
            raise DatasetError(f"{path}: track {track} is {' and '.join(sorted(genres))}")
        table.vectors[track] = rows.values[at]
        table.files[track] = path
        if genres:
            table.genres[track] = genres.pop()
        if rows.subset is not None:
            table.split[track] = rows.subset
