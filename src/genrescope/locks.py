"""Locks of files between processes, also on network shares that have none.

A folder for temporary files has a lock, too, by which others find those that killed processes left.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from filelock import BaseFileLock

# What network shares answer that have no locks.
_NO_LOCKS = {
    *(errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL, errno.EPERM)
}

_SCRATCH_LOCK = "scratch.lock"
# A lock is made an instant before it is acquired.
_YOUNG = 60


@contextmanager
def scratch_folder(
    kind: str, parent: Path | None = None, *, youngest: float = _YOUNG
) -> Iterator[Path]:
    """A temporary folder for this user alone, which is removed afterwards.

    Those that processes left behind which were killed are removed first: folders of this user and
    this kind whose lock is there, and held by nobody.

    Parameters
    ----------
    kind
        Part of its name; only folders of the same kind are looked at.
    parent
        Where it is made; the system's folder for temporary files by default.
    youngest
        Age in seconds of the folders that may be removed.

    Raises
    ------
    OSError
        When it can't be made.
    """
    from filelock import Timeout

    parent, prefix = parent or Path(tempfile.gettempdir()), f"genrescope-{kind}-"
    for left in parent.glob(f"{prefix}*"):
        with suppress(OSError, Timeout):  # in use
            if _is_own(left) and time.time() - left.stat().st_mtime >= youngest:
                acquire(left / _SCRATCH_LOCK).release()
                shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    try:
        lock = acquire(folder / _SCRATCH_LOCK)
        try:
            yield folder
        finally:
            lock.release()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _is_own(folder: Path) -> bool:
    """Whether a folder is a scratch folder of this user: the name alone may be anybody's."""
    status, lock = folder.lstat(), (folder / _SCRATCH_LOCK).lstat()
    user = getattr(os, "getuid", lambda: status.st_uid)()  # not on Windows
    return stat.S_ISDIR(status.st_mode) and stat.S_ISREG(lock.st_mode) and status.st_uid == user


@contextmanager
def held(file: Path) -> Iterator[None]:
    """Hold the lock of a file; wait for it as long as it takes. See `acquire`."""
    lock = acquire(file, timeout=-1)
    try:
        yield
    finally:
        lock.release()


def acquire(file: Path, *, timeout: float = 0, is_singleton: bool = False) -> BaseFileLock:
    """Acquire the lock of a file, which is made where it is missing.

    The operating system releases it when the process ends, however it ends. On a share without
    locks a file next to it, `.lockfile` with the holder's process id, takes its place.

    Parameters
    ----------
    file
        In a folder that exists.
    timeout
        Longest time to wait for another process, in seconds; -1 for as long as it takes.
    is_singleton
        A thread of this process that holds the lock gets it again.

    Raises
    ------
    filelock.Timeout
        When another process holds it for longer.
    OSError
        When the file can't be made or locked.
    """
    from filelock import FileLock, SoftFileLock

    lock: BaseFileLock
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it may say that it uses a lock file
        try:
            lock = FileLock(file, is_singleton=is_singleton)
            lock.acquire(timeout=timeout)
        except (OSError, NotImplementedError) as error:
            if isinstance(error, OSError) and error.errno not in _NO_LOCKS:
                raise
            lock = SoftFileLock(file.with_suffix(".lockfile"), is_singleton=is_singleton)
            lock.acquire(timeout=timeout)
    return lock
