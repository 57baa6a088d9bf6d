"""Tables as text: the separator, byte order mark and spelling of columns are found out.

Conventions
-----------
Columns are separated by a comma, semicolon, tab or vertical bar, whichever makes most of the first
line, or which one a first line such as `sep=;` names, for spreadsheets. Text is UTF-8 or, with its
byte order mark, UTF-16. The first line that is not empty names the columns, in any case, with
spaces or underscores. Spaces around cells don't count. A quote that is not closed is an error.
Errors name the line of the file and the column.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from genrescope.errors import DatasetError
from genrescope.wording import counted

# FMA's tables hold whole web pages in a cell; Python's own limit is 128 KiB.
_LONGEST_CELL = 1 << 24
_SEPARATORS = ",;\t|"
_NOTHING = {"", "nan", "none", "null", "na", "n/a", "<na>"}

_SUBSETS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "evaluation", "eval"), "test"),
}


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes
    ----------
    table
        The file.
    line
        Its line in the file, from 1; the last one, where a cell holds line breaks.
    cells
        Text of each column, without spaces around it.
    """

    table: Path
    line: int
    cells: list[str]

    def error(self, problem: str, column: str | None = None) -> DatasetError:
        """An error that says where in which file the problem is."""
        where = f"line {self.line}" + (f", column {column}" if column else "")
        return DatasetError(f"{self.table}: {where}: {problem}")


class CsvTable:
    """The rows of a table under one header row.

    Parameters
    ----------
    path
        The file.

    Attributes
    ----------
    header
        Names of the columns as they stand there, without spaces around them.
    names
        The same in lower case, with `_` in place of spaces and hyphens, as `column` compares them.

    Raises
    ------
    DatasetError
        When the file can't be read as a table; also while its rows are read.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = Path(path)
        self._rows = csv_rows(path)
        first = next((row for row in self._rows if any(row.cells)), None)
        self.header = first.cells if first else []
        self._line = first.line if first else 1
        self.names = [re.sub(r"[\s-]+", "_", name.lower()) for name in self.header]

    def column(self, names: Sequence[str]) -> int | None:
        """Index of the first of these names, in lower case, that is a column."""
        return next((self.names.index(name) for name in names if name in self.names), None)

    def required(self, what: str, names: Sequence[str]) -> int:
        """As `column`, but an error that lists the names where there is none."""
        index = self.column(names)
        if index is None:
            there = ", ".join(filter(None, self.header)) or "none"
            raise DatasetError(
                f"{self.path}: line {self._line}: expected a column for the {what} "
                f"({', '.join(names)}); the columns are: {there}"
            )
        return index

    def __iter__(self) -> Iterator[Row]:
        """Yield the rows that are not empty, each with as many cells as the header.

        Empty cells beyond the header, which spreadsheets leave, are dropped.
        """
        width = len(self.header)
        for row in self._rows:
            if not any(row.cells):
                continue
            if len(row.cells) < width:
                missing = self.header[len(row.cells)]
                raise row.error(f"{counted(len(row.cells), 'cell')}, expected {width}", missing)
            if any(row.cells[width:]):
                raise row.error(f"{counted(len(row.cells), 'cell')}, expected {width}")
            yield Row(row.table, row.line, row.cells[:width])


def csv_rows(path: str | PathLike[str]) -> Iterator[Row]:
    """Yield the rows of a table as they are, the header too.

    Raises
    ------
    DatasetError
        When the file can't be read as a table.
    """
    limit = csv.field_size_limit(_LONGEST_CELL)
    line = 0
    try:
        with Path(path).open(newline="", encoding=_encoding(path)) as file:
            separator, above = _separator(file)
            # Strict: an unclosed quote would take all lines up to the next one into its cell.
            reader = csv.reader(file, delimiter=separator, strict=True)
            for cells in reader:
                line = reader.line_num + above
                yield Row(Path(path), line, [cell.strip() for cell in cells])
    except UnicodeDecodeError as error:
        # Text is decoded in blocks: the line of the byte is found by counting.
        line = Path(path).read_bytes()[: error.start].count(b"\n") + 1 if line == 0 else line + 1
        raise DatasetError(
            f"{path}: line {line} or later: {error}; expected text in UTF-8"
        ) from None
    except csv.Error as error:
        raise DatasetError(f"{path}: line {line + 1}: {error}") from None
    except OSError as error:
        raise DatasetError(f"{path}: {error.strerror or error}") from None
    finally:
        csv.field_size_limit(limit)


def _encoding(path: str | PathLike[str]) -> str:
    with Path(path).open("rb") as file:
        head = file.read(256)
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if b"\0" in head:
        line = head[: head.index(b"\0")].count(b"\n") + 1
        raise DatasetError(f"{path}: line {line}: NUL bytes, expected a table as text in UTF-8")
    return "utf-8-sig"


def _separator(file: io.TextIOBase) -> tuple[str, int]:
    """The separator, and how many lines stand above the table, to whose beginning it goes.

    It is the one that makes most columns of the first line that is not empty; a comma where none
    does.
    """
    line = file.readline()
    named = line.strip('"\r\n')
    if named.lower().startswith("sep=") and len(named) == len("sep=;"):
        return named[-1], 1
    while line and not line.strip():
        line = file.readline()
    file.seek(0)
    columns = {c: len(next(csv.reader([line], delimiter=c), [])) for c in _SEPARATORS}
    return max(_SEPARATORS, key=lambda separator: columns[separator]), 0


def is_nothing(cell: str) -> bool:
    """Whether a cell holds no value: empty, or as pandas and databases write that."""
    return cell.lower() in _NOTHING


def subset_of(row: Row, index: int, column: str = "split") -> str | None:
    """The subset that a cell names: "train", "validation" or "test"; None for no value.

    Raises
    ------
    DatasetError
        When the cell holds another word.
    """
    word = row.cells[index]
    if is_nothing(word):
        return None
    subset = _SUBSETS.get(word.lower())
    if subset is None:
        raise row.error(f"expected train, validation or test, not {word!r}", column)
    return subset
