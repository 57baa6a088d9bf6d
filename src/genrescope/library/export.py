"""A library's tracks as a table for other programs: CSV, JSON or Parquet, by the file's ending."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from genrescope.atomic import write_atomic
from genrescope.errors import FileError
from genrescope.library.rows import LABELS, Entry


def export(entries: Sequence[Entry], genres: Sequence[str], path: Path) -> None:
    """Write one row a track: path, tags, genre, and the probability of each genre.

    Parquet has the embeddings as well. A file of that name is replaced.

    Raises
    ------
    FileError
        When the ending is none of .csv, .json and .parquet, or the file can't be written.
    """
    form = _FORMS.get(path.suffix.lower())
    if form is None:
        raise FileError(path, f"unknown format; the ending has to be one of {', '.join(_FORMS)}")
    rows = [
        entry.to_dict()
        | {
            "probabilities": {
                genre: round(float(value), 6)
                for genre, value in zip(genres, entry.probabilities, strict=True)
            }
        }
        for entry in entries
    ]
    try:
        write_atomic(path, form(rows, entries))
    except OSError as error:
        raise FileError(path, f"can't be written: {error.strerror or error}") from None


def _flat(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A column for each genre's probability, as in `genrescope classify --format csv`.

    For styles, instruments, moods and uses only the names are kept, most probable first.
    """
    return [
        {**row, **{group: list(row[group]) for group in LABELS}, **row["probabilities"]}
        for row in rows
    ]


def _csv(rows: list[dict[str, Any]], _: Sequence[Entry]) -> bytes:
    text = io.StringIO()
    lists = ("warnings", *LABELS)
    flat = [{**row, **{name: "; ".join(row[name]) for name in lists}} for row in _flat(rows)]
    names = [name for name in (flat[0] if flat else {}) if name != "probabilities"]
    writer = csv.DictWriter(text, names, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue().encode()


def _json(rows: list[dict[str, Any]], _: Sequence[Entry]) -> bytes:
    return ("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n").encode()


def _parquet(rows: list[dict[str, Any]], entries: Sequence[Entry]) -> bytes:
    import pyarrow as pa
    from pyarrow import parquet

    table = pa.Table.from_pylist(
        [{k: v for k, v in row.items() if k != "probabilities"} for row in _flat(rows)]
    )
    for name in (*LABELS, "warnings"):  # lists that are all empty have no type of their own
        if name in table.column_names:
            texts = table[name].cast(pa.list_(pa.string()))
            table = table.set_column(table.column_names.index(name), name, texts)
    width = len(entries[0].embedding) if entries else 1
    embeddings = pa.array([e.embedding for e in entries], pa.list_(pa.float32(), width))
    file = io.BytesIO()
    parquet.write_table(table.append_column("embedding", embeddings), file)
    return file.getvalue()


_FORMS: dict[str, Callable[[list[dict[str, Any]], Sequence[Entry]], bytes]] = {
    ".csv": _csv,
    ".json": _json,
    ".parquet": _parquet,
}
