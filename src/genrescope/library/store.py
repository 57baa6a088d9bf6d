"""A library on disk: one row a track, in a LanceDB table that other programs can read too.

Conventions
-----------
A library is a folder with `tracks.lance` and a lock file. A track is known by the folder that was
scanned (`root`, absolute) and its path below it. All rows were heard by one model, which the
table's metadata names. A track that could not be heard has a `problem`; its probabilities and its
embedding are zeros, as are those of digital silence. Every write is one commit of the table: it
is there whole or not at all, and a reader sees the state before or after.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genrescope.errors import FileError, GenrescopeError

_TABLE = "tracks"
_FORMAT = 1
# Whoever began to read before a scan ended can go on for so long.
_KEEP_OLD = timedelta(hours=1)
_MISSING = "libraries need LanceDB: pip install 'genrescope[library]'"


class LibraryError(FileError):
    """A library is missing, damaged, or was made with another model."""


@dataclass(frozen=True)
class Model:
    """The model that heard a library.

    Attributes
    ----------
    name, sha256
        The bundle's name and the hash of its network: what a library is bound to.
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
        The scanned folder, absolute, and the file's path below it.
    content
        SHA-256 of the coded audio: the same for a moved, a copied or a retagged file.
    size, mtime_ns
        Of the file when it was heard, in bytes and in nanoseconds since 1970.
    title, artist, album, year, genre_tag
        From the file's own tags; None where they say nothing.
    genre, confidence, probabilities
        What was heard; None and 0 where nothing can be told. float32 `[genres]`.
    embedding
        float32 `[embedding_size]`.
    duration
        Seconds heard.
    warnings
        Problems met while it was heard.
    problem
        Why it could not be heard; None where it could.
    deleted
        The file was gone at the last scan.
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

    @property
    def file(self) -> Path:
        """Where the file is, absolute."""
        return Path(self.root, self.path)

    @property
    def name(self) -> str:
        """What people call it: artist and title, or the path where the tags don't say."""
        if self.title and self.artist:
            return f"{self.artist} - {self.title}"
        return self.title or self.path

    @property
    def is_placed(self) -> bool:
        """Whether it has an embedding: it is there, could be heard, and is not silent."""
        return not self.deleted and self.genre is not None

    def to_dict(self) -> dict[str, Any]:
        """What JSON, CSV and Parquet say of it, without probabilities and embedding."""
        return {
            "path": str(self.file),
            "title": self.title,
            "artist": self.artist,
            "album": self.album,
            "year": self.year,
            "genre_tag": self.genre_tag,
            "genre": self.genre,
            "confidence": round(self.confidence, 6),
            "duration": round(self.duration, 3),
            "warnings": list(self.warnings),
            "problem": self.problem,
            "deleted": self.deleted,
        }


def default_library() -> Path:
    """Where the library is kept: `$XDG_DATA_HOME/genrescope/library`, or below `~/.local/share`.

    Raises
    ------
    GenrescopeError
        For a user without a home.
    """
    named = Path(os.environ.get("XDG_DATA_HOME", ""))
    # The XDG specification wants a relative path to be ignored.
    try:
        base = named if named.is_absolute() else Path.home() / ".local" / "share"
    except RuntimeError:
        raise GenrescopeError("this user has no home folder: say --library PATH") from None
    return base / "genrescope" / "library"


class Library:
    """An open library; made by `Library.open` and `Library.create`."""

    def __init__(self, folder: Path, table: Any, model: Model) -> None:
        self.folder, self.model, self._table = folder, model, table

    @classmethod
    def open(cls, folder: Path | None = None) -> Library:
        """Open a library that is there; None for the default place.

        Raises
        ------
        LibraryError
            When there is none, or it is damaged.
        """
        folder = folder or default_library()
        if not is_library(folder):
            raise LibraryError(folder, "no library there: genrescope scan FOLDER makes one")
        try:
            table = _connect(folder).open_table(_TABLE)
            stored = json.loads((table.schema.metadata or {})[b"genrescope"])
            if stored.pop("format") != _FORMAT:
                raise LibraryError(folder, "made by another version: scan with --rescan")
            model = Model(**{**stored, "genres": tuple(stored["genres"])})
        except GenrescopeError:
            raise
        except Exception as error:  # LanceDB's errors share no base class
            raise LibraryError(
                folder, f"not a library, or damaged ({_first_line(error)})"
            ) from error
        return cls(folder, table, model)

    @classmethod
    def create(cls, folder: Path, model: Model) -> Library:
        """Make an empty library; one that is there, be it damaged, is replaced.

        Raises
        ------
        LibraryError
            When the folder can't be written to.
        """
        with _written(folder):
            folder.mkdir(parents=True, exist_ok=True)
            connection = _connect(folder)
            if is_library(folder):
                try:
                    connection.open_table(_TABLE)
                except Exception:  # damaged: LanceDB can't replace that
                    shutil.rmtree(folder / f"{_TABLE}.lance")
            table = connection.create_table(_TABLE, schema=_schema(model), mode="overwrite")
        return cls(folder, table, model)

    def entries(self) -> list[Entry]:
        """All tracks, those that are deleted or could not be heard among them."""
        self._table.checkout_latest()
        table = self._table.to_arrow()
        probabilities = _matrix(table["probabilities"], len(self.model.genres))
        embeddings = _matrix(table["embedding"], self.model.embedding_size)
        rows = table.drop_columns(["probabilities", "embedding"]).to_pylist()
        return [
            Entry(**row, probabilities=p, embedding=e)
            for row, p, e in zip(rows, probabilities, embeddings, strict=True)
        ]

    def put(self, entries: Sequence[Entry]) -> None:
        """Add tracks, or replace those of the same root and path, in one commit.

        Raises
        ------
        LibraryError
            When it can't be written, here and in what follows.
        """
        if entries:
            merge = self._table.merge_insert(["root", "path"])
            merge = merge.when_matched_update_all().when_not_matched_insert_all()
            with _written(self.folder):
                merge.execute(self._rows(entries))

    def remove(self, entries: Sequence[Entry]) -> None:
        """Forget tracks, in one commit."""
        places = [f"(root = {_quoted(e.root)} AND path = {_quoted(e.path)})" for e in entries]
        if places:
            with _written(self.folder):
                self._table.delete(" OR ".join(places))

    def mark_deleted(self, entries: Sequence[Entry]) -> None:
        """Note that the files are gone; what was heard is kept, in case they come back."""
        self.put([replace(entry, deleted=True) for entry in entries])

    def compact(self) -> None:
        """Merge the many small files of a scan into few, and drop versions nobody reads."""
        with _written(self.folder):
            self._table.optimize(cleanup_older_than=_KEEP_OLD)

    def _rows(self, entries: Iterable[Entry]) -> Any:
        import pyarrow

        names = [each.name for each in fields(Entry)]
        rows = [{name: getattr(entry, name) for name in names} for entry in entries]
        return pyarrow.Table.from_pylist(rows, schema=_schema(self.model))


@contextmanager
def locked(folder: Path, waiting: Callable[[str], None]) -> Iterator[None]:
    """Have a library to oneself for a scan; the system lets go of it whatever ends the process.

    Parameters
    ----------
    folder
        The library; made where it is missing.
    waiting
        Told the process id of another scan, where that has to be waited for.

    Raises
    ------
    LibraryError
        When the folder can't be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "scan.lock").open("a+")
    except OSError as error:
        raise LibraryError(folder, f"can't be written: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            waiting(lock.read().strip() or "?")
            fcntl.flock(lock, fcntl.LOCK_EX)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


@contextmanager
def _written(folder: Path) -> Iterator[None]:
    """Turn what the disk and LanceDB can raise into one line."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or _first_line(error)
        raise LibraryError(folder, f"can't be written: {reason}") from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _connect(folder: Path) -> Any:
    # It would warn that a table does not exist yet, each time that one is made.
    os.environ.setdefault("LANCEDB_LOG", "error")
    try:
        import lancedb
    except ImportError:
        raise GenrescopeError(_MISSING) from None
    return lancedb.connect(folder)


def is_library(folder: Path) -> bool:
    """Whether a folder holds a library, damaged or not."""
    # What a kill leaves before the first commit is no library.
    return any((folder / f"{_TABLE}.lance" / "_versions").glob("*.manifest"))


def _schema(model: Model) -> Any:
    import pyarrow as pa

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
    }
    about = json.dumps({"format": _FORMAT, **asdict(model)})
    return pa.schema(list(types.items()), metadata={"genrescope": about})


def _matrix(column: Any, width: int) -> NDArray[np.float32]:
    """A column of vectors as float32 `[rows, width]`."""
    import pyarrow as pa

    chunks = [np.asarray(chunk.flatten()) for chunk in column.chunks]
    flat = np.concatenate(chunks) if chunks else np.asarray(pa.array([], pa.float32()))
    return flat.reshape(-1, width)


def _quoted(text: str) -> str:
    """A text as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"
