"""Atomic writes: a file has its old content or its new content, whatever interrupts the writing."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


@contextmanager
def open_atomic(path: str | PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file for writing that appears under its name only once it is closed without error.

    A symbolic link stays a link. A path that is not a regular file (`/dev/stdout`, a pipe) is
    written to directly and never replaced.

    Raises
    ------
    OSError
        When the file can't be written.
    """
    target = Path(os.path.realpath(path))
    if Path(path).exists() and not Path(path).is_file():
        with Path(path).open("wb") as file:
            yield file
        return
    handle, temporary = _temporary(target)
    try:
        with os.fdopen(handle, "wb") as file:
            try:
                yield file
                file.flush()
                os.fsync(file.fileno())
                Path(temporary).chmod(_mode(target))
                # While it is locked, so that no other process takes it over.
                if fcntl is not None:
                    Path(temporary).replace(target)
            except BaseException:
                if fcntl is not None:
                    Path(temporary).unlink(missing_ok=True)
                raise
        if fcntl is None:  # Windows renames and removes no open file
            Path(temporary).replace(target)
    except BaseException:
        if fcntl is None:
            Path(temporary).unlink(missing_ok=True)
        raise


def _mode(target: Path) -> int:
    """Who may read and write a file: as before where it exists, else as the umask says."""
    try:
        return target.stat().st_mode & 0o777
    except FileNotFoundError:
        umask = os.umask(0)
        os.umask(umask)
        return 0o666 & ~umask


def _temporary(target: Path) -> tuple[int, str]:
    """An empty file next to a target, open for writing, and its name.

    The name is always the same, so that what a killed process has left is taken over by the next
    that writes the same file. Where another process is writing it, or there are no locks, the name
    is a random one.
    """
    name = str(target.with_name(f".{target.name}.tmp"))
    if fcntl is not None:
        try:
            handle = os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError:  # a folder, a link, or somebody else's file
            return tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Between the two calls another process may have renamed it.
            if os.path.samestat(os.fstat(handle), os.lstat(name)):
                os.ftruncate(handle, 0)
                return handle, name
        except OSError:
            pass
        os.close(handle)
    return tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")


def write_atomic(path: str | PathLike[str], content: bytes) -> None:
    """Write a whole file; a reader finds the old content or the new, never a mixture.

    Raises
    ------
    OSError
        When the file can't be written.
    """
    with open_atomic(path) as file:
        file.write(content)
