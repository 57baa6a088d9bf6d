"""Temporary copies next to the files that they replace, and those that a crash left behind.

A copy is named `.genrescope-HOST-PID-XXXXXXXX.mp3`. The walk over folders passes such names over.
Every program that is stopped by an exception or a signal that Python sees removes its own. What a
power cut or SIGKILL leaves is removed by `remove_leftovers` in a later run: at once where its
process is known to be gone, else after a day.
"""

from __future__ import annotations

import hashlib
import os
import re
import socket
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PREFIX = ".genrescope-"
_NAME = re.compile(r"\.genrescope-(?:([0-9a-f]{8})-(\d+)-)?\w{8}(\.\w+)?")
_OLD_SECONDS = 86_400.0


@contextmanager
def temporary_copy(target: Path) -> Iterator[Path]:
    """An empty file in the folder of a target, which is gone afterwards unless it was renamed.

    Raises
    ------
    OSError
        When the folder can't be written to.
    """
    prefix = f"{_PREFIX}{_host()}-{os.getpid()}-"
    # mutagen goes by the ending where the first bytes leave a doubt.
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=prefix, suffix=target.suffix)
    os.close(handle)
    try:
        yield Path(name)
    finally:
        with suppress(FileNotFoundError):
            Path(name).unlink()


def remove_leftovers(folders: Iterable[Path]) -> list[Path]:
    """Remove what crashed programs left in folders (not below them), and return what it was."""
    removed = []
    for folder in sorted(set(folders)):
        try:
            names = sorted(os.listdir(folder))  # noqa: PTH208 - its errors are these
        except OSError:
            continue
        for name in names:
            match = _NAME.fullmatch(name)
            if match and _is_left(folder / name, match[1], match[2]):
                with suppress(OSError):
                    (folder / name).unlink()
                    removed.append(folder / name)
    return removed


def _is_left(file: Path, host: str | None, process: str | None) -> bool:
    if host == _host() and process is not None and os.name == "posix":
        return not _is_alive(int(process))
    with suppress(OSError):
        return time.time() - file.lstat().st_mtime > _OLD_SECONDS
    return False


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)  # on Windows this would end it
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def _host() -> str:
    """The name of the computer, as part of a file's name."""
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
