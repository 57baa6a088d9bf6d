"""Opening a file, whatever stands at the path, with an error a person understands."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from typing import BinaryIO

from genrescope.errors import AudioError


@contextmanager
def open_regular(path: str | PathLike[str]) -> Iterator[tuple[BinaryIO, int]]:
    """Open a regular, non-empty file for reading, unbuffered; give it and its size in bytes.

    Raises
    ------
    AudioError
        If there is no such file, it is a folder, a pipe or a device, empty, or not readable.
    """
    try:
        status = os.stat(path)  # noqa: PTH116 - Path("") would be the current folder
        if stat.S_ISDIR(status.st_mode):
            raise AudioError(path, "a folder, not a file")
        if not stat.S_ISREG(status.st_mode):
            raise AudioError(path, "not a regular file but a pipe, a socket or a device")
        if status.st_size == 0:
            raise AudioError(path, "empty (0 bytes)")
        # Non-blocking: a pipe put in the file's place since then must not stop us.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError) as fault:
        raise AudioError(path, "no such file") from fault
    except PermissionError as fault:
        raise AudioError(path, "not readable: permission denied") from fault
    except OSError as fault:
        raise AudioError(path, f"not readable: {fault.strerror}") from fault
    except ValueError as fault:  # a NUL or a lone surrogate in the name
        raise AudioError(path, "no such file: no file can have this name") from fault
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        yield file, status.st_size
