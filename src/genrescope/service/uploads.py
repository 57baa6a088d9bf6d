"""A private folder for uploads, which is removed after use, and after a crash."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from filelock import Timeout

from genrescope.locks import acquire

_PREFIX = "genrescope-uploads-"
_LOCK = "lock"
_BLOCK = 2**20


class UploadFolder:
    """A folder that only this user can read, with a lock by which a later start knows its owner."""

    def __init__(self, parent: Path | None = None) -> None:
        parent = parent or Path(tempfile.gettempdir())
        remove_abandoned(parent)
        self.folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        self._lock = acquire(self.folder / _LOCK)

    @contextmanager
    def kept(self, source: BinaryIO) -> Iterator[Path]:
        """The content of an upload as a file of a random name, which is gone afterwards."""
        path = self.new()
        try:
            with path.open("wb") as file:
                shutil.copyfileobj(source, file, _BLOCK)
            yield path
        finally:
            path.unlink(missing_ok=True)

    def new(self, suffix: str = "") -> Path:
        """An empty file of a random name."""
        handle, name = tempfile.mkstemp(dir=self.folder, suffix=suffix)
        os.close(handle)
        return Path(name)

    def close(self) -> None:
        """Remove the folder."""
        self._lock.release()
        shutil.rmtree(self.folder, ignore_errors=True)


def remove_abandoned(parent: Path) -> None:
    """Remove what services that were killed have left, and no other folder."""
    for folder in parent.glob(f"{_PREFIX}*"):
        with suppress(OSError, Timeout):
            if folder.is_symlink() or not (folder / _LOCK).is_file():
                continue
            acquire(folder / _LOCK).release()
            shutil.rmtree(folder)
