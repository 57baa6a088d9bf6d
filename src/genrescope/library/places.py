"""Where a library is: a folder or an address on object storage, its tables and its lock.

A place is a path, or an address such as ``s3://bucket/music``. This module opens tables there and
turns LanceDB's errors into one line each; it knows nothing of what the tables hold.

LanceDB raises `ValueError`, `RuntimeError` and `OSError` for everything, with the cause in the
text. Whether a table exists and whether another machine wrote meanwhile is therefore looked up
before an error is interpreted. Only the causes that object storage alone knows (bucket, rights,
keys, connection) are read from the text, to be worded plainly.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genrescope.errors import FileError, GenrescopeError
from genrescope.locks import acquire
from genrescope.paths import data_folder
from genrescope.redaction import without_password

if TYPE_CHECKING:
    from filelock import BaseFileLock

# A folder, or an address on object storage.
Place = str | os.PathLike[str]

_SCHEMES = ("s3", "gs", "az")
# Plain HTTP is used only where an endpoint says so. Storage that does not answer is given up soon.
_STORAGE = {"allow_http": "true", "connect_timeout": "5s", "client_retry_timeout": "15"}
_NO_KEYS = "no keys for it in the environment, such as AWS_ACCESS_KEY_ID"
_UNREACHED = "the storage can't be reached"
# LanceDB (0.40) raises the same three built-in errors for all of these, without a class, code or
# attribute of its own. A check before the call would need a client of each storage, which finds its
# keys in another way than LanceDB does. So they are told apart by their text; a text that matches
# nothing is shown as it is.
_STORAGE_REASONS = {
    "NoSuchBucket|ContainerNotFound|bucket does not exist": "there is no such bucket",
    "no Azure account|Unable to find object store prefix": f"{_NO_KEYS} or "
    "AZURE_STORAGE_ACCOUNT_NAME",
    "status: 40[13]|AccessDenied|Unauthori[sz]ed|InvalidAccessKey|SignatureDoesNotMatch": "no "
    "right to use it: check the keys in the environment",
    "[Cc]redential": _NO_KEYS,
    # The region of a bucket is looked up at Amazon's, where the environment does not name it.
    "kind: Connect|kind: Timeout|dns error|timed out|Failed to resolve region": _UNREACHED,
}
# LanceDB puts the names of its errors in front, and where in its own code one arose at the end.
_INNER = re.compile(
    r"^(lance error: |LanceError\([^)]*\): |Generic \w+ error: )+"
    r"|,?\s*(location: Location \{[^}]*\}|\S*\.rs(:\d+)*\b|\S*/(\.cargo|rustc)/\S*)",
)
LANCE_ERRORS = (OSError, RuntimeError, ValueError)
_ATTEMPTS = 8
_MISSING = "libraries need LanceDB: pip install 'genrescope[library]'"


class LibraryError(FileError):
    """A library is missing, damaged, or was made with another model."""


class LibraryBusyError(LibraryError):
    """Another process writes to a library, for longer than a caller wants to wait."""


def default_library() -> Path:
    """The default library, `library` in `paths.data_folder`.

    Raises
    ------
    GenrescopeError
        For a user without a home folder.
    """
    folder = data_folder("library")
    if folder.is_relative_to(os.devnull):
        raise GenrescopeError("this user has no home folder: name the library's place")
    return folder


def place_of(place: Place) -> str:
    """A library's place as text: a path as it is, an address without a slash at its end.

    Raises
    ------
    LibraryError
        When it is an address of an unknown scheme or with a password, or a file.
    """
    place = os.fspath(place)
    if not is_address(place):
        if os.path.isfile(place):  # noqa: PTH113 - Path's raises for names that are too long
            raise LibraryError(place, "a file, not a folder")
        return place
    if without_password(place) != place:
        raise LibraryError(place, "no password in an address: put it into the environment")
    scheme, _, rest = place.partition("://")
    if scheme not in _SCHEMES or not rest.strip("/"):
        raise LibraryError(place, "a library is a folder, or at s3://, gs:// or az://BUCKET/PATH")
    return place.rstrip("/")


def is_address(place: Place) -> bool:
    """Whether a place is on object storage."""
    return "://" in os.fspath(place)


def connect(place: str) -> Any:
    """Connect LanceDB to a place.

    Raises
    ------
    GenrescopeError
        When LanceDB is not installed, or the place can't be reached.
    """
    # It would warn that a table does not exist yet, each time that one is made.
    os.environ.setdefault("LANCEDB_LOG", "error")
    try:
        import lancedb
    except ImportError:
        raise GenrescopeError(_MISSING) from None
    try:
        return lancedb.connect(place, storage_options=_STORAGE if is_address(place) else None)
    except LANCE_ERRORS as error:  # it has a first look at an address
        raise damaged(place, error) from error


def has_table(place: str, connection: Any, name: str) -> bool:
    """Whether a table exists, damaged or not.

    Raises
    ------
    LibraryError
        When the place can't be reached.
    """
    if not is_address(place):
        # What a kill before the first commit leaves is not a table.
        return any(Path(place, f"{name}.lance", "_versions").glob("*.manifest"))
    try:
        token, names = None, set[str]()
        while True:
            page = connection.list_tables(page_token=token)
            names.update(page.tables)
            token = page.page_token
            if name in names or not token:
                return name in names
    except LANCE_ERRORS as error:
        raise damaged(place, error) from error


def open_table(place: str, connection: Any, name: str) -> Any:
    """Open a table with LanceDB; None where it does not exist.

    Raises
    ------
    LibraryError
        When it is damaged, or can't be reached.
    """
    if not has_table(place, connection, name):
        return None
    try:
        return connection.open_table(name)
    except Exception as error:  # LanceDB's errors share no base class
        raise damaged(place, error) from error


@contextmanager
def reading(place: str) -> Iterator[None]:
    """Turn what LanceDB can raise while it reads into a LibraryError of one line."""
    try:
        yield
    except LANCE_ERRORS as error:
        raise damaged(place, error) from error


@contextmanager
def writing(place: str) -> Iterator[None]:
    """Turn what the disk and LanceDB can raise while they write into a LibraryError of one line."""
    try:
        yield
    except LANCE_ERRORS as error:
        raise LibraryError(place, f"can't be written: {_reason(error)}") from error


def commit(place: str, table: Any, write: Callable[[], Any]) -> None:
    """Write to a table; again, on top of it, where another machine committed in between.

    Raises
    ------
    LibraryError
        When it can't be written.
    """
    with writing(place):
        for attempt in range(1, _ATTEMPTS + 1):
            before = table.version
            try:
                write()
            except LANCE_ERRORS:
                time.sleep(0.1 * attempt)
                table.checkout_latest()
                if attempt == _ATTEMPTS or table.version == before:
                    raise
            else:
                return


def damaged(place: str, error: Exception) -> LibraryError:
    """The LibraryError for what LanceDB raised at a place."""
    reason = _reason(error)
    if reason in _STORAGE_REASONS.values():
        return LibraryError(place, reason)
    return LibraryError(place, f"not a library, or damaged ({reason})")


def _reason(error: Exception) -> str:
    """The cause of an error in one line; LanceDB words those of object storage in many."""
    for pattern, reason in _STORAGE_REASONS.items():
        if re.search(pattern, str(error)):
            return reason
    text = getattr(error, "strerror", None) or next(iter(str(error).splitlines()), "")
    text = _INNER.sub("", text)
    return text[:200] or type(error).__name__


@contextmanager
def locked(
    place: Place,
    waiting: Callable[[str], None] = lambda _pid: None,
    *,
    seconds: float | None = None,
) -> Iterator[None]:
    """Hold the lock of a library, so that only one process of this machine writes to it.

    The operating system releases the lock when the process ends, however it ends. On a network
    share without locks a lock file with the holder's process id takes its place.

    Parameters
    ----------
    place
        The library; its folder is made where it is missing. The lock of a library on object
        storage is kept in the data folder of this machine.
    waiting
        Called with the process id of the holder, where there is one to wait for.
    seconds
        The longest to wait for it; as long as it takes by default.

    Raises
    ------
    LibraryBusyError
        When it took longer.
    LibraryError
        When the folder can't be written to.
    """
    place = place_of(place)
    file = Path(place, "scan.lock")
    if is_address(place):
        name = hashlib.sha256(place.encode()).hexdigest()[:16]
        file = default_library().parent / "locks" / f"{name}.lock"
    holder = file.with_suffix(".pid")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = _acquired(file, lambda: waiting(_holder(holder)), seconds)
        if lock is None:
            reason = f"process {_holder(holder)} writes to it"
            raise LibraryBusyError(place, reason)
        holder.write_text(str(os.getpid()), encoding="utf-8")
    except OSError as error:
        raise LibraryError(file.parent, f"can't be written: {error.strerror}") from error
    try:
        yield
    finally:
        lock.release()


def _acquired(
    file: Path, waiting: Callable[[], None], seconds: float | None
) -> BaseFileLock | None:
    """Acquire the lock of a file; a thread that holds it already gets it again.

    None where another process holds it for longer than `seconds`.
    """
    from filelock import Timeout

    try:
        return acquire(file, is_singleton=True)
    except Timeout:
        waiting()
    try:
        return acquire(file, timeout=-1 if seconds is None else seconds, is_singleton=True)
    except Timeout:
        return None


def _holder(file: Path) -> str:
    """The process id of the lock's holder; "?" where it is not known yet."""
    try:
        return file.read_text(encoding="utf-8").strip() or "?"
    except OSError:
        return "?"
