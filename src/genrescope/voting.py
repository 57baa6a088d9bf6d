"""From the network's outputs for segments to the probabilities of a track."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def softmax(logits: NDArray[np.floating], temperature: float = 1.0) -> NDArray[np.float64]:
    """Probabilities of logits `[..., genres]`, flattened by a temperature above 1."""
    scaled = logits.astype(np.float64) / temperature
    powers = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def vote(logits: NDArray[np.floating], temperature: float = 1.0) -> NDArray[np.float64]:
    """Mean probability over the segments of a track, `[segments, genres]` to `[genres]`."""
    return np.asarray(softmax(logits, temperature).mean(axis=0))
