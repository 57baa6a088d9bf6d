"""From the model's outputs for segments to the probabilities of a track.

Conventions
-----------
Four rules are known. "mean_probability" averages the segments' probabilities. "mean_logits"
averages their logits (the logarithms of the probabilities, which differ from them by a constant),
so that one segment may rule a genre out. "median_probability" takes the median of each genre's
probabilities and scales them to sum 1. "majority" counts which genre each segment names, the mode
of the kth paper; the mean probabilities count as one further vote, shared among the genres, which
decides ties and nothing else.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Aggregation = Literal["mean_probability", "mean_logits", "median_probability", "majority"]


def softmax(logits: NDArray[np.floating], temperature: float = 1.0) -> NDArray[np.float64]:
    """Probabilities of logits `[..., genres]`, flattened by a temperature above 1."""
    scaled = logits.astype(np.float64) / temperature
    powers = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def aggregate(
    probabilities: NDArray[np.float64], rule: Aggregation = "mean_probability"
) -> NDArray[np.float64]:
    """Probabilities of a track from those of its segments, `[segments, genres]` to `[genres]`."""
    mean = np.asarray(probabilities.mean(axis=0))
    if rule == "mean_probability":
        return mean
    if rule == "mean_logits":
        return softmax(np.log(np.maximum(probabilities, np.finfo(float).tiny)).mean(axis=0))
    if rule == "median_probability":
        median = np.median(probabilities, axis=0)
        # Segments that agree on nothing can leave every genre's median at 0.
        return np.asarray(median / median.sum()) if median.sum() > 0 else mean
    segments, genres = probabilities.shape
    votes = np.bincount(probabilities.argmax(axis=1), minlength=genres)
    return np.asarray((votes + mean) / (segments + 1))


def aggregate_logits(
    logits: NDArray[np.floating],
    temperature: float = 1.0,
    rule: Aggregation = "mean_probability",
) -> NDArray[np.float64]:
    """Probabilities of a track from the logits of its segments, `[segments, genres]`."""
    return aggregate(softmax(logits, temperature), rule)
