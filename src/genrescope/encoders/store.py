"""Embeddings kept on disk by the content of a file and a key; arrays and keys are all it knows.

Those of an encoder are kept as float16, and given rounded to it the first time too, so that a
result does not depend on whether it was there before.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from os import PathLike
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from genrescope.features.cache import FeatureCache
from genrescope.features.spectrogram import FloatArray

Times = NDArray[np.float64]


@dataclass(frozen=True)
class Embedding:
    """The embedding of a track.

    Attributes
    ----------
    values
        float32 `[segments, size]`.
    starts, ends
        float64 `[segments]`, seconds from the beginning of the track.
    padded
        The track is shorter than a segment and was padded with silence.
    """

    values: FloatArray
    starts: Times
    ends: Times
    padded: bool


class Store(Protocol):
    """Where the engine looks for the embedding of a file, and keeps it."""

    def get(self, path: str | PathLike[str]) -> Embedding | None:
        """The stored embedding of a file; None where there is none."""

    def put(self, path: str | PathLike[str], embedding: Embedding) -> Embedding:
        """Keep an embedding, and give it as `get` will."""


@dataclass(frozen=True)
class EmbeddingStore:
    """Embeddings of one kind on disk.

    Attributes
    ----------
    cache
        Where they are kept.
    key
        All that an embedding depends on besides the file, as text.
    timed
        Whether float16 values and the times of segments are kept, as of encoders; else float32
        values alone, as training needs them, and all times are 0.
    """

    cache: FeatureCache
    key: str
    timed: bool = True
    _read: dict[str, str] = field(default_factory=dict, compare=False, repr=False)

    def get(self, path: str | PathLike[str]) -> Embedding | None:
        """The stored embedding of a file; None where there is none.

        Raises
        ------
        FileError
            When the file can't be read.
        """
        self._read[os.fspath(path)] = self.cache.content(path)
        kept = self.cache.get(path, self.key)
        return None if kept is None else self._unpacked(kept)

    def put(self, path: str | PathLike[str], embedding: Embedding) -> Embedding:
        """Keep an embedding, and give it as `get` will.

        Raises
        ------
        FileError
            When the file can't be read.
        """
        packed = _packed(embedding) if self.timed else embedding.values
        content = self._read.pop(os.fspath(path), None)
        if content is not None and content != self.cache.content(path):
            return self._unpacked(packed)  # it is the embedding of what the file was before
        return self._unpacked(self.cache.get_or_compute(path, self.key, lambda: packed))

    def _unpacked(self, kept: NDArray[Any]) -> Embedding:
        return _unpacked(kept) if self.timed else _timeless(kept)


def _timeless(values: NDArray[Any]) -> Embedding:
    times = np.zeros(len(values))
    return Embedding(values, times, times, padded=False)


def _packed(embedding: Embedding) -> NDArray[Any]:
    """An embedding as records, one for each segment."""
    count, size = embedding.values.shape
    fields = [("values", "<f2", (size,)), ("start", "<f8"), ("end", "<f8"), ("padded", "?")]
    records = np.zeros(count, np.dtype(fields))
    largest = np.finfo(np.float16).max
    records["values"] = np.clip(embedding.values, -largest, largest)
    records["start"], records["end"] = embedding.starts, embedding.ends
    records["padded"] = embedding.padded
    return records


def _unpacked(records: NDArray[Any]) -> Embedding:
    values = records["values"].astype(np.float32)
    starts, ends = records["start"].copy(), records["end"].copy()
    return Embedding(values, starts, ends, bool(records["padded"].any()))
