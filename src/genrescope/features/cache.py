"""Arrays kept on disk, so that an interrupted run continues where it stopped.

Conventions
-----------
The key of an entry is the content of the file that it was computed from, and the settings: a file
may be moved, and a changed file is computed again. An entry is a `.npy` file followed by the
SHA-256 of its bytes; a damaged one is ignored.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable
from contextlib import suppress
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genrescope.atomic import write_atomic
from genrescope.audio.files import open_regular
from genrescope.errors import UnreadableError
from genrescope.paths import cache_folder

FEATURE_VERSION = 3
"""Increment it whenever a feature's numbers change: entries of other versions are ignored."""

_DIGEST = 32  # bytes of a SHA-256
_BLOCK = 2**20


class FeatureCache:
    """Arrays on disk. Any number of threads and processes may share a folder.

    Parameters
    ----------
    folder
        Created when the first entry is written; None for the user's cache folder.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder if folder is not None else cache_folder("features")
        self._known: dict[tuple[int, int, int, int], str] = {}

    def get(self, path: str | PathLike[str], settings: str) -> NDArray[Any] | None:
        """The cached array of a file and settings; None where there is none.

        Raises
        ------
        FileError
            When the file can't be read.
        """
        return _read(self._entry(self.content(path), settings))

    def get_or_compute(
        self, path: str | PathLike[str], settings: str, compute: Callable[[], NDArray[Any]]
    ) -> NDArray[Any]:
        """The result of `compute`, read from disk where it was computed before.

        Nothing is stored where the folder can't be written to.

        Parameters
        ----------
        path
            The file that `compute` reads.
        settings
            Everything else that the result depends on, as text, such as the front end as JSON.
        compute
            Returns an array of numbers of any shape and type.

        Raises
        ------
        FileError
            When the file can't be read.
        """
        content = self.content(path)
        kept = _read(self._entry(content, settings))
        if kept is not None:
            return kept
        values = compute()
        # If the file was replaced meanwhile, the values may not belong to its content.
        if self.content(path) == content:
            self.store(content, settings, values)
        return values

    def store(self, content: str, settings: str, values: NDArray[Any]) -> None:
        """Store values that were computed from a file of this content with these settings."""
        entry = self._entry(content, settings)
        with suppress(OSError):
            entry.parent.mkdir(parents=True, exist_ok=True)
            _write(entry, values)

    def _entry(self, content: str, settings: str) -> Path:
        """Where the entry of a file's content and settings is."""
        key = hashlib.sha256(f"{FEATURE_VERSION}\n{content}\n{settings}".encode()).hexdigest()
        return self.folder / key[:2] / f"{key}.npy"

    def content(self, path: str | PathLike[str]) -> str:
        """SHA-256 of a file, remembered for as long as its size and time stay what they are.

        Raises
        ------
        AudioError
            When the file can't be read.
        """
        with open_regular(path) as (file, size):
            status = os.fstat(file.fileno())
            look = (status.st_dev, status.st_ino, size, status.st_mtime_ns)
            if look not in self._known:
                digest = hashlib.sha256()
                try:
                    while block := file.read(_BLOCK):
                        digest.update(block)
                except OSError as error:
                    raise UnreadableError(path, f"not readable: {error.strerror}") from error
                self._known[look] = digest.hexdigest()
            return self._known[look]


def _write(entry: Path, values: NDArray[Any]) -> None:
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=False)
    content = buffer.getvalue()
    write_atomic(entry, content + hashlib.sha256(content).digest())


def _read(entry: Path) -> NDArray[Any] | None:
    """Read an entry; None where there is none or it is damaged."""
    try:
        stored = entry.read_bytes()
    except OSError:
        return None
    content, digest = stored[:-_DIGEST], stored[-_DIGEST:]
    if hashlib.sha256(content).digest() != digest:
        return None
    try:
        values: NDArray[Any] = np.load(io.BytesIO(content), allow_pickle=False)
    except SystemError:
        # CPython 3.11 counts the depth of the syntax trees of all threads together, and NumPy
        # parses a header as one: rarely this fails while another thread reads ("AST constructor
        # recursion depth mismatch", CPython's issue 106905).
        return None
    return values
