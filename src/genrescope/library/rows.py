"""The rows of a library: tracks and the model that classified them, as values and as Arrow tables.

Conventions
-----------
A track is identified by the folder that was scanned (`root`, absolute) and its path below it. All
rows of a library come from one model, which the table's metadata names. A track that could not be
decoded has a `problem`; its probabilities and its embedding are zeros, and so are those of digital
silence.

A track's labels (styles, instruments, moods, uses) are those that its model shows, with their
probabilities, most probable first; there are none where the model knows none.

Format 1 is that of version 0.1; format 2 added the column `inode`; format 3 added `kind` and the
labels; format 4 added `listen`; format 5 added `detector`; format 6 added `album_artist`.
`from_table` reads them all.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from genrescope.audio.addresses import is_address

if TYPE_CHECKING:
    import pyarrow

FORMAT = 6
LABELS = ("styles", "instruments", "moods", "uses")
"""Columns of labels, each a list of names with probabilities."""

HAS_EMBEDDING = "NOT deleted AND genre IS NOT NULL"
"""`Entry.has_embedding` as SQL."""

NOT_YET = "not classified yet"
NOT_CLASSIFIED = f"{NOT_YET}: the scan that began it was stopped"
"""Problem of a track that `scan --rescan` has not reached; the next scan of its folder does."""

_METADATA_KEY = b"genrescope"
_INT64 = 2**63 - 1
_VECTORS = ("probabilities", "embedding")


@dataclass(frozen=True)
class Model:
    """The model that classified the tracks of a library.

    Attributes
    ----------
    name, sha256
        The bundle's name and the hash of its network, to which the library is bound.
    source
        Where the bundle was loaded from: a shipped model's name, or an absolute path.
    genres
        In the order of `Entry.probabilities`.
    embedding_size
        Length of `Entry.embedding`.
    """

    name: str
    sha256: str
    source: str
    genres: tuple[str, ...]
    embedding_size: int


@dataclass(frozen=True, eq=False)
class Entry:
    """A track of a library.

    Attributes
    ----------
    root, path
        The scanned folder, absolute, and the file's path below it. A root may be an address
        (`s3://bucket/music`).
    content
        SHA-256 of the coded audio: the same for a moved, a copied or a retagged file.
    size, mtime_ns
        Size in bytes and modification time in nanoseconds since 1970 of the file when it was
        classified. At an address
        the latter is a number that changes with the file's version.
    title, artist, album, year, genre_tag
        From the file's own tags; None where they are missing.
    genre, confidence, probabilities
        The model's prediction; None, 0 and zeros for silence and unreadable files. float32
        `[genres]`.
    embedding
        float32 `[embedding_size]`.
    duration
        Decoded seconds.
    warnings
        Problems met while decoding.
    problem
        Why it could not be decoded; None where it could.
    deleted
        The file was missing at the last scan.
    inode
        The file's number on its disk, by which hard links are found; None where it is not known.
    kind
        "music", or what it is instead, such as "speech"; None where the model can't tell.
    styles, instruments, moods, uses
        Name to probability, most probable first; see `genrescope.inference.labels.Tags`.
    listen
        How much of the file was read: "full", or "auto" or a number of seconds where `scan` read
        parts of it, see `genrescope.inference.Prediction`.
    detector
        What decided on `kind`, see `genrescope.inference.Bundle`'s `Manifest.detector`; None where
        `kind` is, and in rows of format 4 and before.
    album_artist
        Who the album is by, from the file's tags: of a compilation "Various Artists", say. Empty
        where they name none, None where they were not read: the next scan completes a library of
        an older version, except for files at addresses, which `--rescan` reads.
    corrected_genre
        The owner's correction, which is stored apart, see `genrescope.library.corrections`.
    """

    root: str
    path: str
    content: str
    size: int
    mtime_ns: int
    probabilities: NDArray[np.float32] = field(repr=False)
    embedding: NDArray[np.float32] = field(repr=False)
    title: str | None = None
    artist: str | None = None
    album: str | None = None
    year: int | None = None
    genre_tag: str | None = None
    genre: str | None = None
    confidence: float = 0.0
    duration: float = 0.0
    warnings: Sequence[str] = ()
    problem: str | None = None
    deleted: bool = False
    inode: int | None = None
    kind: str | None = None
    styles: Mapping[str, float] = field(default_factory=dict)
    instruments: Mapping[str, float] = field(default_factory=dict)
    moods: Mapping[str, float] = field(default_factory=dict)
    uses: Mapping[str, float] = field(default_factory=dict)
    listen: str = "full"
    detector: str | None = None
    album_artist: str | None = None
    corrected_genre: str | None = None

    @property
    def file(self) -> Path:
        """The file's absolute path; of a file at an address one that no file has."""
        return Path(self.root, self.path)

    @property
    def is_remote(self) -> bool:
        """Whether the file is at an address, and not on a disk of this machine."""
        return is_address(self.root)

    @property
    def place(self) -> str:
        """The file's path, or its address."""
        return f"{self.root}/{self.path}" if self.is_remote else str(self.file)

    @property
    def name(self) -> str:
        """Artist and title, or the path where the tags don't name them."""
        if self.title and self.artist:
            return f"{self.artist} - {self.title}"
        return self.title or self.path

    @property
    def effective_genre(self) -> str | None:
        """The genre that the owner corrected it to, else the model's."""
        return self.corrected_genre or self.genre

    @property
    def answer(self) -> str:
        """The genre, as the owner corrected it or the model said it; or in words why it has none.

        "speech" or another kind of sound, "silence", "not decoded", "not classified yet".
        """
        if self.effective_genre is not None:
            return self.effective_genre
        if self.problem is not None:
            return NOT_YET if self.is_unclassified else "not decoded"
        return "no genre" if self.kind == "music" else self.kind or "silence"

    @property
    def is_unclassified(self) -> bool:
        """Whether `scan --rescan` has not reached it, or could not read it; a scan tries again."""
        return self.problem is not None and self.problem.startswith(NOT_YET)

    @property
    def has_embedding(self) -> bool:
        """Whether the file exists, could be decoded, and has a genre: is music, not silence."""
        return not self.deleted and self.genre is not None

    def to_dict(self) -> dict[str, Any]:
        """The fields that JSON, CSV and Parquet show; no probabilities, no embedding."""
        return {
            "path": self.place,
            "title": self.title,
            "artist": self.artist,
            "album": self.album,
            "album_artist": self.album_artist or None,
            "year": self.year,
            "genre_tag": self.genre_tag,
            "genre": self.genre,
            "corrected_genre": self.corrected_genre,
            "confidence": round(self.confidence, 6),
            "kind": self.kind,
            **{group: rounded(getattr(self, group)) for group in LABELS},
            "duration": round(self.duration, 3),
            "listen": self.listen,
            "warnings": list(self.warnings),
            "problem": self.problem,
            "deleted": self.deleted,
        }


def rounded(labels: Mapping[str, float]) -> dict[str, float]:
    """Labels with their probabilities as JSON has them."""
    return {name: round(probability, 4) for name, probability in labels.items()}


def inode_of(status: os.stat_result) -> int | None:
    """A file's number on its disk as a library stores it; None where the file system has none."""
    return (status.st_ino & _INT64) or None  # some number files by 64 bits without a sign


def schema(model: Model) -> pyarrow.Schema:
    """The columns of a library of this model, with the model in their metadata."""
    import pyarrow as pa

    label = pa.struct([("name", pa.string()), ("probability", pa.float32())])
    types = {
        **dict.fromkeys(["root", "path", "content"], pa.string()),
        **dict.fromkeys(["size", "mtime_ns"], pa.int64()),
        "probabilities": pa.list_(pa.float32(), len(model.genres)),
        "embedding": pa.list_(pa.float32(), model.embedding_size),
        **dict.fromkeys(["title", "artist", "album"], pa.string()),
        "year": pa.int32(),
        **dict.fromkeys(["genre_tag", "genre"], pa.string()),
        **dict.fromkeys(["confidence", "duration"], pa.float64()),
        "warnings": pa.list_(pa.string()),
        "problem": pa.string(),
        "deleted": pa.bool_(),
        "inode": pa.int64(),
        "kind": pa.string(),
        **dict.fromkeys(LABELS, pa.list_(label)),
        "listen": pa.string(),
        "detector": pa.string(),
        "album_artist": pa.string(),
    }
    metadata = {_METADATA_KEY: json.dumps({"format": FORMAT, **asdict(model)})}
    return pa.schema(list(types.items()), metadata=metadata)


def read_metadata(schema: pyarrow.Schema) -> tuple[int, Model]:
    """The format and the model that a library's schema names.

    Raises
    ------
    ValueError, KeyError, TypeError
        When the metadata is missing or damaged.
    """
    stored = json.loads((schema.metadata or {})[_METADATA_KEY])
    version = stored.pop("format")
    if not isinstance(version, int):
        raise TypeError(f"a format is a number, not {version!r}")
    if version > FORMAT:  # its fields need not be those known here
        stored = {each.name: stored[each.name] for each in fields(Model)}
    return version, Model(**{**stored, "genres": tuple(stored["genres"])})


def to_table(entries: Iterable[Entry], model: Model) -> pyarrow.Table:
    """Tracks as an Arrow table in the present format."""
    import pyarrow as pa

    columns = schema(model)
    names = [each.name for each in fields(Entry) if each.name in columns.names]
    rows = [{name: getattr(entry, name) for name in names} for entry in entries]
    for row in rows:
        row |= {group: _as_list(row[group]) for group in LABELS}
    return pa.Table.from_pylist(rows, schema=columns)


def from_table(
    table: pyarrow.Table, model: Model, corrections: Mapping[str, str] | None = None
) -> list[Entry]:
    """The tracks of an Arrow table; what an older format lacks gets its default.

    `corrections` are the corrected genres of the library, by content.
    """
    corrections = corrections or {}
    probabilities = matrix(table["probabilities"], len(model.genres))
    embeddings = matrix(table["embedding"], model.embedding_size)
    names = [each.name for each in fields(Entry) if each.name in table.column_names]
    rows = table.select([name for name in names if name not in _VECTORS]).to_pylist()
    groups = [group for group in LABELS if group in names]
    for row in rows:
        row |= {group: labels_of(row[group]) for group in groups}
    return [
        Entry(
            **row,
            probabilities=p,
            embedding=e,
            corrected_genre=corrections.get(row["content"]),
        )
        for row, p, e in zip(rows, probabilities, embeddings, strict=True)
    ]


def labels_of(stored: list[dict[str, Any]] | None) -> dict[str, float]:
    """Labels from their form in a column."""
    return {each["name"]: each["probability"] for each in stored or ()}


def _as_list(labels: Mapping[str, float]) -> list[dict[str, Any]] | None:
    pairs = labels.items()
    return [{"name": name, "probability": value} for name, value in pairs] or None


def matrix(column: pyarrow.ChunkedArray, width: int) -> NDArray[np.float32]:
    """A column of vectors as float32 `[rows, width]`."""
    import pyarrow as pa

    chunks = [np.asarray(chunk.flatten()) for chunk in column.chunks]
    flat = np.concatenate(chunks) if chunks else np.asarray(pa.array([], pa.float32()))
    return flat.reshape(-1, width)
