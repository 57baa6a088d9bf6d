"""A private folder for uploads, which is removed after use, and after a crash."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from genrescope.locks import scratch_folder

_BLOCK = 2**20


class UploadFolder:
    """A folder that only this user can read; those of services that were killed are removed."""

    def __init__(self, parent: Path | None = None) -> None:
        self._open = ExitStack()
        self.folder = self._open.enter_context(scratch_folder("uploads", parent, youngest=0))

    @contextmanager
    def kept(self, source: BinaryIO) -> Iterator[Path]:
        """The content of an upload as a file of a random name, which is gone afterwards.

        Raises
        ------
        OSError
            When the disk is full.
        """
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
        self._open.close()
