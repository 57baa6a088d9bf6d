"""Aggregation: from the model's outputs for segments to the probabilities of a track.

Conventions
-----------
There are four rules. "mean_probability" averages the probabilities of the segments. "mean_logits"
averages their logits (the logarithms of the probabilities, which differ from the logits by a
constant), so that one segment may rule out a genre. "median_probability" takes the median of each
genre's probabilities and scales the medians to sum to 1. "majority" counts the segments whose most
probable genre it is, the mode of the kth paper; the mean probabilities count as one further vote,
shared among the genres, which only breaks ties.

>>> import numpy as np
>>> segments = np.array([[0.9, 0.1], [0.4, 0.6], [0.4, 0.6]])
>>> aggregate(segments).round(3)
array([0.567, 0.433])
>>> aggregate(segments, "majority").round(3)
array([0.392, 0.608])
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Aggregation = Literal["mean_probability", "mean_logits", "median_probability", "majority"]


def softmax(logits: NDArray[np.floating], temperature: float = 1.0) -> NDArray[np.float64]:
    """Probabilities from logits `[..., genres]`; a temperature above 1 makes them less certain."""
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
        # Where the segments disagree entirely, the median of every genre can be 0.
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
