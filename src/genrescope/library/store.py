"""A library on disk: one row a track, in a LanceDB table that other programs can read too.

Conventions
-----------
A library is a folder with `tracks.lance`, or the same on object storage, at an address such as
``s3://bucket/shelf``. A track is known by the folder that was scanned (`root`, absolute) and its
path below it. All rows were heard by one model, which the table's metadata names. A track that
could not be heard has a `problem`; its probabilities and its embedding are zeros, as are those of
digital silence. Every write is one commit of the table: it is there whole or not at all, and a
reader sees the state before or after.

Two scans of one library
------------------------
A lock on this machine lets only one work at a time, wherever the library is. Object storage has no
locks: two *machines* may scan into one address at once. LanceDB tries a commit again on top of the
other's, so nothing is lost, but both may hear a new file and store its row. Of such rows one is
read, and `Library.compact` removes the rest.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from genrescope.errors import FileError, GenrescopeError
from genrescope.paths import data_folder

if TYPE_CHECKING:
    import pyarrow

# A folder, or an address on object storage.
Place = str | os.PathLike[str]

_TABLE = "tracks"
INDEX = "index"
_FORMAT = 1
_PLACED = "NOT deleted AND genre IS NOT NULL"  # Entry.is_placed
# Whoever began to read before a scan ended can go on for so long.
_KEEP_OLD = timedelta(hours=1)
_SCHEMES = ("s3", "gs", "az")
# Plain HTTP is spoken only where an endpoint says so. What doesn't answer is not waited for long.
_STORAGE = {"allow_http": "true", "connect_timeout": "5s", "client_retry_timeout": "15"}
_NO_KEYS = "no keys for it in the environment, such as AWS_ACCESS_KEY_ID"
_UNREACHED = "the storage can't be reached"
_REASONS = {
    "NoSuchBucket|ContainerNotFound|bucket does not exist": "there is no such bucket",
    "no Azure account|Unable to find object store prefix": f"{_NO_KEYS} or "
    "AZURE_STORAGE_ACCOUNT_NAME",
    "status: 40[13]|AccessDenied|Unauthori[sz]ed|InvalidAccessKey|SignatureDoesNotMatch": "no "
    "right to use it: check the keys in the environment",
    "[Cc]redential": _NO_KEYS,
    # Which region a bucket is in is asked of Amazon, where the environment does not say it.
    "kind: Connect|kind: Timeout|dns error|timed out|Failed to resolve region": _UNREACHED,
}
# LanceDB says where in its own code something went wrong.
_INNER = re.compile(r",?\s*(location: Location \{[^}]*\}|\S*/\.cargo/\S*)")
_ATTEMPTS = 8
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
    folder = data_folder("library")
    if folder.is_relative_to(os.devnull):
        raise GenrescopeError("this user has no home folder: name the library's place")
    return folder


class Library:
    """An open library; made by `Library.open` and `Library.create`.

    Attributes
    ----------
    folder
        Where it is: a folder, or an address such as ``s3://bucket/shelf``.
    model
        What heard it.
    """

    def __init__(self, folder: str, connection: Any, table: Any, model: Model) -> None:
        self.folder, self.model = folder, model
        self._connection, self._table = connection, table

    @classmethod
    def open(cls, folder: Place | None = None) -> Library:
        """Open a library that is there; None for the default place.

        Raises
        ------
        LibraryError
            When there is none, or it is damaged.
        """
        folder = place_of(folder or default_library())
        connection = table = None
        # LanceDB makes the folder that it is asked to look into.
        if _is_address(folder) or is_library(folder):
            connection = _connect(folder)
            table = _opened(folder, connection, _TABLE)
        if table is None:
            raise LibraryError(folder, "no library there: genrescope scan FOLDER makes one")
        try:
            stored = json.loads((table.schema.metadata or {})[b"genrescope"])
            if stored.pop("format") != _FORMAT:
                raise LibraryError(folder, "made by another version: scan with --rescan")
            model = Model(**{**stored, "genres": tuple(stored["genres"])})
        except GenrescopeError:
            raise
        except (KeyError, ValueError, TypeError) as error:
            raise _damaged(folder, error) from error
        return cls(folder, connection, table, model)

    @classmethod
    def create(cls, folder: Place, model: Model) -> Library:
        """Make an empty library; one that is there, be it damaged, is replaced.

        Raises
        ------
        LibraryError
            When the folder can't be written to.
        """
        folder = place_of(folder)
        with _written(folder):
            if not _is_address(folder):
                Path(folder).mkdir(parents=True, exist_ok=True)
            connection = _connect(folder)
            try:
                there = _opened(folder, connection, _TABLE) is not None
            except LibraryError:  # LanceDB can't replace what is damaged
                there = False
            if not there:  # versions begin anew, so an index could be taken for one of them
                for name in (_TABLE, INDEX):
                    connection.drop_table(name, ignore_missing=True)
            table = connection.create_table(_TABLE, schema=_schema(model), mode="overwrite")
        return cls(folder, connection, table, model)

    def entries(self, where: str | None = None) -> list[Entry]:
        """All tracks, those that are deleted or could not be heard among them.

        Parameters
        ----------
        where
            Only those of which this SQL holds.

        Raises
        ------
        LibraryError
            When it can't be read, here and in what follows.
        """
        with self.reading():
            self._table.checkout_latest()
            table = self._table.search().where(where).to_arrow() if where else None
            entries = self._entries(self._table.to_arrow() if table is None else table)
        return list({(entry.root, entry.path): entry for entry in entries}.values())

    def at(self, file: Path) -> list[Entry]:
        """The tracks of a file, by its absolute path: one, or one for each root it lies below."""
        wanted = (
            f"(root = {_quoted(str(root))} AND path = {_quoted(str(file.relative_to(root)))})"
            for root in file.parents
        )
        return self.entries(" OR ".join(wanted))

    def called(self, name: str) -> list[Entry]:
        """The tracks of this path below their root, or of this name."""
        said = _quoted(name)
        found = self.entries(
            f"path = {said} OR title = {said} OR concat(artist, ' - ', title) = {said}"
        )
        return [entry for entry in found if name in (entry.path, entry.name)]

    @property
    def version(self) -> int:
        """A number that every commit raises."""
        return int(self._table.version)

    def count(self) -> int:
        """How many tracks have an embedding."""
        with self.reading():
            return int(self._table.count_rows(_PLACED))

    def placed(self, columns: Sequence[str]) -> pyarrow.Table:
        """Columns of the tracks that have an embedding, and their `_rowid`s in this version."""
        with self.reading():
            query = self._table.search().where(_PLACED)
            table: pyarrow.Table = query.select(list(columns)).with_row_id(True).to_arrow()
        return table

    def rows(self, ids: Sequence[int]) -> list[Entry]:
        """The tracks of these `_rowid`s, in no order."""
        with self.reading():
            return self._entries(self._table.take_row_ids(list(ids)).to_arrow())

    def _entries(self, table: pyarrow.Table) -> list[Entry]:
        probabilities = matrix(table["probabilities"], len(self.model.genres))
        embeddings = matrix(table["embedding"], self.model.embedding_size)
        names = [each.name for each in fields(Entry)]
        rows = table.select(names).drop_columns(["probabilities", "embedding"]).to_pylist()
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
            rows = self._rows(entries)
            self.commit(lambda: merge.execute(rows))

    def remove(self, entries: Sequence[Entry]) -> None:
        """Forget tracks, in one commit."""
        places = [f"(root = {_quoted(e.root)} AND path = {_quoted(e.path)})" for e in entries]
        if places:
            self.commit(lambda: self._table.delete(" OR ".join(places)))

    def mark_deleted(self, entries: Sequence[Entry]) -> None:
        """Note that the files are gone; what was heard is kept, in case they come back."""
        self.put([replace(entry, deleted=True) for entry in entries])

    def compact(self) -> None:
        """Merge the many small files of a scan into few, and drop versions nobody reads.

        Rows that two machines stored of one file become one.
        """
        self._table.checkout_latest()
        seen: set[tuple[str, str]] = set()
        doubled: set[tuple[str, str]] = set()
        for row in self._table.search().select(["root", "path"]).to_arrow().to_pylist():
            place = row["root"], row["path"]
            (doubled if place in seen else seen).add(place)
        if doubled:
            entries = [e for e in self.entries() if (e.root, e.path) in doubled]
            self.remove(entries)
            self.put(entries)
        self.commit(lambda: self._table.optimize(cleanup_older_than=_KEEP_OLD))

    def read_table(self, name: str) -> pyarrow.Table | None:
        """A further table that was kept beside the tracks; None where there is none.

        Raises
        ------
        LibraryError
            When it is damaged, or can't be reached.
        """
        found = self.lance_table(name)
        with self.reading():
            return None if found is None else found.to_arrow()

    def lance_table(self, name: str) -> Any:
        """As `read_table`, but LanceDB's own table, of which nothing is read yet."""
        return _opened(self.folder, self._connection, _further(name))

    def write_table(self, name: str, table: pyarrow.Table) -> None:
        """Keep a further table beside the tracks, with its metadata, in one commit.

        An older one of that name is replaced.

        Raises
        ------
        LibraryError
            When it can't be written.
        """
        name = _further(name)
        self.commit(lambda: self._connection.create_table(name, table, mode="overwrite"))

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Turn what LanceDB can raise while it reads into a LibraryError of one line."""
        try:
            yield
        except (OSError, RuntimeError, ValueError) as error:
            raise _damaged(self.folder, error) from error

    def commit(self, write: Callable[[], Any]) -> None:
        """Write; once more, on what another machine wrote meanwhile, where that is in the way."""
        with _written(self.folder):
            for attempt in range(1, _ATTEMPTS + 1):
                try:
                    write()
                except (OSError, RuntimeError, ValueError) as error:
                    if attempt == _ATTEMPTS or "conflict" not in str(error).lower():
                        raise
                    time.sleep(0.1 * attempt)
                    self._table.checkout_latest()
                else:
                    return

    def _rows(self, entries: Iterable[Entry]) -> Any:
        import pyarrow

        names = [each.name for each in fields(Entry)]
        rows = [{name: getattr(entry, name) for name in names} for entry in entries]
        return pyarrow.Table.from_pylist(rows, schema=_schema(self.model))


@contextmanager
def locked(folder: Place, waiting: Callable[[str], None]) -> Iterator[None]:
    """Have a library to oneself for a scan; the system lets go of it whatever ends the process.

    Parameters
    ----------
    folder
        The library; made where it is missing. The lock of one on object storage is kept in the
        data folder of this machine.
    waiting
        Told the process id of another scan, where that has to be waited for.

    Raises
    ------
    LibraryError
        When the folder can't be written to.
    """
    folder = place_of(folder)
    file = Path(folder, "scan.lock")
    if _is_address(folder):
        name = hashlib.sha256(folder.encode()).hexdigest()[:16]
        file = default_library().parent / "locks" / f"{name}.lock"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = file.open("a+")
    except OSError as error:
        raise LibraryError(file.parent, f"can't be written: {error.strerror}") from error
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


def place_of(folder: Place) -> str:
    """A library's place as text: a path as it is, an address without a slash at its end.

    Raises
    ------
    LibraryError
        When it is an address that libraries can't be at, or a file.
    """
    folder = os.fspath(folder)
    if not _is_address(folder):
        if os.path.isfile(folder):  # noqa: PTH113 - Path's raises for names that are too long
            raise LibraryError(folder, "a file, not a folder")
        return folder
    scheme, _, rest = folder.partition("://")
    if scheme not in _SCHEMES or not rest.strip("/"):
        raise LibraryError(folder, "a library is a folder, or at s3://, gs:// or az://BUCKET/PATH")
    return folder.rstrip("/")


def is_library(folder: Place) -> bool:
    """Whether a place holds a library, damaged or not.

    Raises
    ------
    LibraryError
        When it can't be looked at; on object storage also when it is damaged.
    """
    if _is_address(folder):
        folder = place_of(folder)
        return _opened(folder, _connect(folder), _TABLE) is not None
    # What a kill leaves before the first commit is no library.
    return any(Path(folder, f"{_TABLE}.lance", "_versions").glob("*.manifest"))


def _is_address(folder: Place) -> bool:
    return "://" in os.fspath(folder)


def _further(name: str) -> str:
    """The name of a table beside the tracks."""
    if name == _TABLE:
        raise ValueError(f"{name} are written by Library.put")
    return name


def _connect(folder: str) -> Any:
    # It would warn that a table does not exist yet, each time that one is made.
    os.environ.setdefault("LANCEDB_LOG", "error")
    try:
        import lancedb
    except ImportError:
        raise GenrescopeError(_MISSING) from None
    try:
        return lancedb.connect(folder, storage_options=_STORAGE if _is_address(folder) else None)
    except (OSError, RuntimeError, ValueError) as error:  # it has a first look at an address
        raise _damaged(folder, error) from error


def _opened(folder: str, connection: Any, name: str) -> Any:
    """A table of a library, None where there is none.

    Raises
    ------
    LibraryError
        When it is damaged, or can't be reached.
    """
    try:
        return connection.open_table(name)
    except Exception as error:  # LanceDB's errors share no base class
        if str(error) == f"Table '{name}' was not found":
            return None
        raise _damaged(folder, error) from error


@contextmanager
def _written(folder: str) -> Iterator[None]:
    """Turn what the disk and LanceDB can raise into one line."""
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        raise LibraryError(folder, f"can't be written: {_reason(error)}") from error


def _damaged(folder: str, error: Exception) -> LibraryError:
    reason = _reason(error)
    if reason in _REASONS.values():
        return LibraryError(folder, reason)
    return LibraryError(folder, f"not a library, or damaged ({reason})")


def _reason(error: Exception) -> str:
    """What went wrong, in one line; LanceDB tells of object storage in many."""
    for pattern, reason in _REASONS.items():
        if re.search(pattern, str(error)):
            return reason
    said = getattr(error, "strerror", None) or next(iter(str(error).splitlines()), "")
    said = _INNER.sub("", said)
    return said[:200] or type(error).__name__


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


def matrix(column: Any, width: int) -> NDArray[np.float32]:
    """A column of vectors as float32 `[rows, width]`."""
    import pyarrow as pa

    chunks = [np.asarray(chunk.flatten()) for chunk in column.chunks]
    flat = np.concatenate(chunks) if chunks else np.asarray(pa.array([], pa.float32()))
    return flat.reshape(-1, width)


def _quoted(text: str) -> str:
    """A text as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"
