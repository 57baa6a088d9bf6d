"""Atomic writes: a file has its old content or its new content, whatever interrupts the writing."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import BinaryIO


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
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files private; the umask decides what others may read.
        umask = os.umask(0)
        os.umask(umask)
        Path(temporary).chmod(0o666 & ~umask)
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_atomic(path: str | PathLike[str], content: bytes) -> None:
    """Write a whole file; a reader finds the old content or the new, never a mixture.

    Raises
    ------
    OSError
        When the file can't be written.
    """
    with open_atomic(path) as file:
        file.write(content)
