"""Files that are there whole or not at all, whatever interrupts the writing."""

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

    A symbolic link stays a link. What is no regular file (`/dev/stdout`, a pipe) is written to as
    it is, never replaced.

    Raises
    ------
    OSError
        When the folder can't be written to.
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
        # mkstemp makes files private; what others may read is the umask's business.
        umask = os.umask(0)
        os.umask(umask)
        Path(temporary).chmod(0o666 & ~umask)
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_atomic(path: str | PathLike[str], content: bytes) -> None:
    """Write a whole file; a reader finds the old content or the new, never a part.

    Raises
    ------
    OSError
        When the folder can't be written to.
    """
    with open_atomic(path) as file:
        file.write(content)
