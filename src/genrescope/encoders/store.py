"""Embeddings kept on disk by the content of a file and a key; arrays and keys are all it knows.

They are kept as float16, and given rounded to it the first time too, so that a result does not
depend on whether it was there before.
"""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from typing import Any

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


@dataclass(frozen=True)
class EmbeddingStore:
    """Embeddings of one kind on disk.

    Attributes
    ----------
    cache
        Where they are kept.
    key
        All that an embedding depends on besides the file, as text.
    """

    cache: FeatureCache
    key: str

    def get(self, path: str | PathLike[str]) -> Embedding | None:
        """What was kept for a file; None where nothing was.

        Raises
        ------
        FileError
            When the file can't be read.
        """
        records = self.cache.get(path, self.key)
        return None if records is None else _unpacked(records)

    def put(self, path: str | PathLike[str], embedding: Embedding) -> Embedding:
        """Keep an embedding, and give it as `get` will.

        Raises
        ------
        FileError
            When the file can't be read.
        """
        packed = _packed(embedding)
        return _unpacked(self.cache.get_or_compute(path, self.key, lambda: packed))


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
