"""Libraries without audio, for what is computed from embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genrescope.library.rows import Entry, Model
from genrescope.library.store import Library

MODEL = Model("test", "0" * 64, "test", ("jazz", "rock"), 16)


def entry(name: str, embedding: NDArray, *, root: str = "/music", **changes: object) -> Entry:
    known: dict[str, object] = {
        "content": name,
        "size": 1,
        "mtime_ns": 1,
        "probabilities": np.array([0.75, 0.25], np.float32),
        "genre": "jazz",
        "confidence": 0.75,
        "duration": 180.0,
    }
    return Entry(root=root, path=name, embedding=np.float32(embedding), **(known | changes))


def make_library(folder: Path, entries: Sequence[Entry]) -> Library:
    library = Library.create(folder, MODEL)
    library.put(entries)
    return library
