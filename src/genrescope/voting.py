"""From the network's outputs for segments to the probabilities of a track.

Conventions
-----------
Four ways to vote are known. "mean" averages the segments' probabilities. "geometric" averages their
logarithms, which is the logits' mean but for a constant, so that a segment may rule a genre out.
"median" takes the median of each genre's and brings them to sum 1. "mode" counts which genre each
segment names, as the kth paper does; the mean probabilities count as one further vote, shared among
the genres, which decides ties and nothing else.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Voting = Literal["mean", "geometric", "median", "mode"]


def softmax(logits: NDArray[np.floating], temperature: float = 1.0) -> NDArray[np.float64]:
    """Probabilities of logits `[..., genres]`, flattened by a temperature above 1."""
    scaled = logits.astype(np.float64) / temperature
    powers = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def elect(probabilities: NDArray[np.float64], voting: Voting = "mean") -> NDArray[np.float64]:
    """Probabilities of a track from those of its segments, `[segments, genres]` to `[genres]`."""
    mean = np.asarray(probabilities.mean(axis=0))
    if voting == "mean":
        return mean
    if voting == "geometric":
        return softmax(np.log(np.maximum(probabilities, np.finfo(float).tiny)).mean(axis=0))
    if voting == "median":
        median = np.median(probabilities, axis=0)
        # Segments that agree on nothing can leave every genre's median at 0.
        return np.asarray(median / median.sum()) if median.sum() > 0 else mean
    segments, genres = probabilities.shape
    votes = np.bincount(probabilities.argmax(axis=1), minlength=genres)
    return np.asarray((votes + mean) / (segments + 1))


def vote(
    logits: NDArray[np.floating], temperature: float = 1.0, voting: Voting = "mean"
) -> NDArray[np.float64]:
    """Probabilities of a track from the logits of its segments, `[segments, genres]`."""
    return elect(softmax(logits, temperature), voting)
