"""CSV files row by row, and the words their cells may hold."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path

from genrescope.errors import DatasetError

# FMA's tables hold whole web pages in a cell; Python's own limit is 128 KiB.
_LONGEST_CELL = 1 << 24

_SIDES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "evaluation", "eval"), "test"),
}


def csv_rows(path: str | PathLike[str]) -> Iterator[list[str]]:
    """Yield the rows of a CSV file, without the byte order mark of spreadsheets.

    Raises
    ------
    DatasetError
        When the file can't be read as CSV in UTF-8.
    """
    limit = csv.field_size_limit(_LONGEST_CELL)
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            yield from csv.reader(file)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path}: {error}") from None
    finally:
        csv.field_size_limit(limit)


def first_of(names: Sequence[str], header: Sequence[str]) -> int | None:
    """Place in the header of the first of these names that is there."""
    return next((header.index(name) for name in names if name in header), None)


def side_of(word: str, place: str) -> str | None:
    """Give the side of a split that a cell names: train, validation or test; None for no word.

    Raises
    ------
    DatasetError
        When the word is another one; `place` says where it stands.
    """
    if not word.strip():
        return None
    side = _SIDES.get(word.strip().lower())
    if side is None:
        raise DatasetError(f"{place}: split is train, validation or test, not {word!r}")
    return side
