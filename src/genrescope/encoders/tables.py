"""Tables of embeddings in one file: NumPy's `.npz`, or Parquet.

Conventions
-----------
A row is a segment, or a track where embeddings are pooled. In Parquet it has the columns `path`,
`start`, `end` and `embedding`, a list of fixed length. In an `.npz` there are the arrays `paths`
`[tracks]`, `track` (the row's index into `paths`), `start`, `end`, all `[rows]`, and `embedding`
`[rows, size]`. Both carry a `Heading` as JSON: in Parquet's metadata, and as the array `heading`.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from genrescope.atomic import open_atomic
from genrescope.errors import FileError, GenrescopeError
from genrescope.features.spectrogram import FloatArray
from genrescope.untrusted import open_npz

SUFFIXES: Final = (".npz", ".parquet")
_ROWS = 4096  # of a group in Parquet, and read at a time
_UNREADABLE = (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile)


@dataclass(frozen=True)
class TrackRows:
    """A track's rows.

    Attributes
    ----------
    path
        As text.
    stamp
        The file's size in bytes and time of change in nanoseconds, when it was read.
    values
        float32 `[rows, size]`.
    starts, ends
        float64 `[rows]`, seconds.
    """

    path: str
    stamp: tuple[int, int]
    values: FloatArray
    starts: NDArray[np.float64]
    ends: NDArray[np.float64]


@dataclass(frozen=True)
class Heading:
    """Description of a table's embeddings.

    Attributes
    ----------
    key
        Key of the model that computed the embeddings.
    pool
        How the segments of a track were pooled.
    size
        Numbers of an embedding.
    tracks
        Path, number of rows and stamp of each track, in the order of the rows.
    """

    key: str
    pool: str
    size: int = 0
    tracks: list[tuple[str, int, tuple[int, int]]] = field(default_factory=list)

    @property
    def settings(self) -> tuple[str, str]:
        """Fields in which two tables must agree for their rows to be comparable."""
        return self.key, self.pool

    @property
    def rows(self) -> int:
        """All rows."""
        return sum(rows for _, rows, _ in self.tracks)

    def stamps(self) -> dict[str, tuple[int, int]]:
        """The stamp of each track, by its path."""
        return {path: (stamp[0], stamp[1]) for path, _, stamp in self.tracks}

    def text(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self))


def check_format(out: Path) -> None:
    """Make sure that a table can be written to a file of this name.

    Raises
    ------
    GenrescopeError
        When its suffix is not one of `SUFFIXES`, or pyarrow is missing.
    """
    if out.suffix.lower() not in SUFFIXES:
        raise GenrescopeError(f"{out}: the name has to end in {' or '.join(SUFFIXES)}")
    if out.suffix.lower() == ".parquet":
        _pyarrow()


def write_table(out: Path, heading: Heading, tracks: Callable[[], Iterable[TrackRows]]) -> None:
    """Write a table atomically, in memory that does not depend on its length.

    Parameters
    ----------
    out
        The file.
    heading
        With all tracks.
    tracks
        Gives the rows of these tracks in their order; it is called for each array of an `.npz`.

    Raises
    ------
    OSError
        When it can't be written.
    """
    with open_atomic(out) as file:
        if out.suffix.lower() == ".parquet":
            _write_parquet(file, heading, tracks())
        else:
            _write_npz(file, heading, tracks)


def read_heading(path: Path) -> Heading:
    """Contents of a table.

    Raises
    ------
    FileError
        When it is not a table of embeddings, or damaged.
    """
    try:
        if path.suffix.lower() == ".parquet":
            metadata = _pyarrow().parquet.read_schema(path).metadata or {}
            fields = json.loads(metadata[b"genrescope"])
        else:
            with open_npz(path) as arrays:
                fields = json.loads(str(arrays["heading"]))
        tracks = [
            (str(name), int(rows), (int(a), int(b))) for name, rows, (a, b) in fields["tracks"]
        ]
        return Heading(str(fields["key"]), str(fields["pool"]), int(fields["size"]), tracks)
    except _UNREADABLE as error:
        raise FileError(path, f"no table of embeddings: {_line(error)}") from None


def read_table(path: Path) -> Iterator[TrackRows]:
    """The rows of a table, track by track.

    Raises
    ------
    FileError
        When it is not a table of embeddings, or damaged.
    """
    heading = read_heading(path)
    read = _read_parquet if path.suffix.lower() == ".parquet" else _read_npz
    try:
        blocks = read(path)
        values = np.zeros((0, heading.size), np.float32)
        times = np.zeros((0, 2))
        for name, count, stamp in heading.tracks:
            while len(values) < count:
                block = next(blocks)
                values = np.concatenate([values, block[0]])
                times = np.concatenate([times, np.stack(block[1:], axis=1)])
            yield TrackRows(name, stamp, values[:count], times[:count, 0], times[:count, 1])
            values, times = values[count:], times[count:]
    except (*_UNREADABLE, StopIteration) as error:
        raise FileError(path, f"damaged: {_line(error)}") from None


def _write_npz(
    file: IO[bytes], heading: Heading, tracks: Callable[[], Iterable[TrackRows]]
) -> None:
    counts = [rows for _, rows, _ in heading.tracks]
    with zipfile.ZipFile(file, "w") as archive:
        _write_array(archive, "heading", [np.array(heading.text())])
        _write_array(archive, "paths", [np.array([name for name, _, _ in heading.tracks])])
        _write_array(archive, "track", [np.repeat(np.arange(len(counts)), counts)])
        for name, kind, shape in (
            ("start", np.float64, (heading.rows,)),
            ("end", np.float64, (heading.rows,)),
            ("embedding", np.float32, (heading.rows, heading.size)),
        ):
            attribute = {"start": "starts", "end": "ends", "embedding": "values"}[name]
            blocks = (getattr(track, attribute) for track in tracks())
            _write_array(archive, name, blocks, np.dtype(kind), shape)


def _write_array(
    archive: zipfile.ZipFile,
    name: str,
    blocks: Iterable[NDArray[Any]],
    kind: np.dtype[Any] | None = None,
    shape: tuple[int, ...] | None = None,
) -> None:
    """An array of an `.npz`, block by block; with one block its type and shape are known."""
    if kind is None or shape is None:
        (whole,) = blocks
        kind, shape, blocks = whole.dtype, whole.shape, [whole]
    fields = {"descr": kind.str, "fortran_order": False, "shape": shape}
    with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
        np.lib.format.write_array_header_1_0(entry, fields)
        for block in blocks:
            entry.write(np.ascontiguousarray(block, kind).tobytes())


def _read_npz(path: Path) -> Iterator[tuple[NDArray[Any], ...]]:
    with zipfile.ZipFile(path) as archive:
        entries = [archive.open(f"{name}.npy") for name in ("embedding", "start", "end")]
        heads = []
        for entry in entries:
            version = np.lib.format.read_magic(entry)
            read = getattr(np.lib.format, f"read_array_header_{version[0]}_0")
            heads.append(read(entry))
        for start in range(0, heads[0][0][0], _ROWS):
            count = min(_ROWS, heads[0][0][0] - start)
            blocks = []
            for entry, (shape, _, kind) in zip(entries, heads, strict=True):
                numbers = count * int(np.prod(shape[1:]))
                content = entry.read(numbers * kind.itemsize)
                blocks.append(np.frombuffer(content, kind).reshape(count, *shape[1:]))
            yield tuple(blocks)


def _write_parquet(file: IO[bytes], heading: Heading, tracks: Iterable[TrackRows]) -> None:
    arrow = _pyarrow()
    kind = arrow.list_(arrow.float32(), heading.size)
    fields = {"path": arrow.string(), "start": arrow.float64(), "end": arrow.float64()}
    schema = arrow.schema([*fields.items(), ("embedding", kind)])
    schema = schema.with_metadata({"genrescope": heading.text()})
    rest = iter(tracks)
    with arrow.parquet.ParquetWriter(file, schema) as writer:
        while group := _group(rest):
            numbers = arrow.array(np.concatenate([t.values for t in group]).ravel())
            columns = [
                arrow.array([t.path for t in group for _ in t.starts], arrow.string()),
                arrow.array(np.concatenate([t.starts for t in group])),
                arrow.array(np.concatenate([t.ends for t in group])),
                arrow.FixedSizeListArray.from_arrays(numbers, heading.size),
            ]
            writer.write_table(arrow.Table.from_arrays(columns, schema=schema))


def _group(tracks: Iterator[TrackRows]) -> list[TrackRows]:
    """Tracks with some thousand rows together."""
    group, rows = list[TrackRows](), 0
    for track in tracks:
        group.append(track)
        rows += len(track.values)
        if rows >= _ROWS:
            break
    return group


def _read_parquet(path: Path) -> Iterator[tuple[NDArray[Any], ...]]:
    with _pyarrow().parquet.ParquetFile(path) as table:
        for batch in table.iter_batches(_ROWS, columns=["embedding", "start", "end"]):
            count = len(batch)
            values = batch.column("embedding").flatten().to_numpy().reshape(count, -1)
            yield values, batch.column("start").to_numpy(), batch.column("end").to_numpy()


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        hint = "pip install 'genrescope[library]', or write .npz"
        raise GenrescopeError(f"Parquet needs {error.name}: {hint}") from None
    return pyarrow


def _line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
