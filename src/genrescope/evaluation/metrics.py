"""Predictions to figures: accuracy, precision, recall, F1, calibration, and their intervals.

Conventions
-----------
`truth` is int `[n]`, the number of each track's genre; `probabilities` is float `[n, genres]`. One
row is one track: segments are put to the vote before anything is counted.

Metrics
-------
Accuracy; macro means of precision, recall and F1 over the genres that occur in `truth` (a genre
that is never named has precision 0); expected calibration error (Guo et al. 2017) with ten bins of
equal width. Intervals are percentiles of a bootstrap over tracks, or over groups of tracks (one
artist's, say), which are drawn whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.intp]
Probabilities = NDArray[np.float64]

METRICS = (
    "accuracy",
    "macro_precision",
    "macro_recall",
    "macro_f1",
    "expected_calibration_error",
)


def validate(truth: Labels, probabilities: Probabilities) -> None:
    """Refuse input that has no meaningful figure.

    Raises
    ------
    ValueError
        Says what is wrong with it.
    """
    if truth.ndim != 1 or probabilities.ndim != 2 or len(truth) != len(probabilities):
        raise ValueError(f"{truth.shape} labels do not go with {probabilities.shape} probabilities")
    if len(truth) == 0:
        raise ValueError("there is nothing to judge")
    if truth.min() < 0 or truth.max() >= probabilities.shape[1]:
        raise ValueError("a label is not one of the genres")
    if not np.allclose(probabilities.sum(axis=1), 1, atol=1e-3):
        raise ValueError("probabilities do not sum to 1")
    if probabilities.min() < 0:
        raise ValueError("a probability is negative")


def confusion(truth: Labels, named: Labels, genres: int) -> NDArray[np.intp]:
    """Counts `[genre, named as]`."""
    counts = np.zeros((genres, genres), np.intp)
    np.add.at(counts, (truth, named), 1)
    return counts


def by_genre(truth: Labels, probabilities: Probabilities) -> dict[str, NDArray[np.float64]]:
    """Precision, recall and F1 of each genre, each float `[genres]`; 0 where undefined."""
    counts = confusion(truth, probabilities.argmax(axis=1), probabilities.shape[1])
    right = np.diag(counts).astype(float)
    precision = right / np.maximum(counts.sum(axis=0), 1)
    recall = right / np.maximum(counts.sum(axis=1), 1)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    return {"precision": precision, "recall": recall, "f1": f1}


def calibration_error(truth: Labels, probabilities: Probabilities, bins: int = 10) -> float:
    """Expected calibration error: how far confidence is from accuracy, weighted over bins."""
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == truth
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [abs(right[place == b].sum() - confidence[place == b].sum()) for b in range(bins)]
    return float(sum(gaps) / len(truth))


def figures(truth: Labels, probabilities: Probabilities) -> dict[str, float]:
    """All of `METRICS`."""
    genre = by_genre(truth, probabilities)
    there = np.unique(truth)
    return {
        "accuracy": float((probabilities.argmax(axis=1) == truth).mean()),
        **{f"macro_{name}": float(values[there].mean()) for name, values in genre.items()},
        "expected_calibration_error": calibration_error(truth, probabilities),
    }


@dataclass(frozen=True)
class Judgement:
    """Figures of predictions on tracks, each with its 95 % interval.

    Attributes
    ----------
    n
        Tracks judged.
    values, intervals
        By name of the metric; an interval is (low, high).
    genres
        By genre: n, precision, recall, f1, and the interval of recall.
    confusion
        Counts `[genre, named as]`.
    """

    n: int
    values: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    genres: dict[str, dict[str, Any]]
    confusion: NDArray[np.intp]

    def to_dict(self) -> dict[str, Any]:
        """As `metrics.json` has it."""
        return {
            "n": self.n,
            **{name: round(value, 6) for name, value in self.values.items()},
            "interval": {
                name: [round(low, 6), round(high, 6)]
                for name, (low, high) in self.intervals.items()
            },
            "by_genre": self.genres,
            "confusion": self.confusion.tolist(),
        }


def judge(
    truth: Labels,
    probabilities: Probabilities,
    genres: Sequence[str],
    *,
    groups: Sequence[str] | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> Judgement:
    """All figures with 95 % intervals.

    Parameters
    ----------
    truth, probabilities
        See the conventions above.
    genres
        Names, in the order of the probabilities.
    groups
        Group of each track; tracks of one group are drawn together in the bootstrap. Each track
        by itself if not given.
    resamples, seed
        Of the bootstrap.

    Raises
    ------
    ValueError
        See `validate`; also when `genres` or `groups` are of another number.
    """
    validate(truth, probabilities)
    if len(genres) != probabilities.shape[1]:
        raise ValueError(f"{len(genres)} genres do not go with {probabilities.shape} probabilities")
    if groups is not None and len(groups) != len(truth):
        raise ValueError(f"{len(groups)} groups do not go with {len(truth)} labels")
    random = np.random.default_rng(seed)
    names = np.asarray(groups if groups is not None else np.arange(len(truth)))
    _, group_of = np.unique(names, return_inverse=True)
    members = [np.flatnonzero(group_of == group) for group in range(group_of.max() + 1)]
    drawn: dict[str, list[float]] = {name: [] for name in METRICS}
    recalls = np.full((resamples, len(genres)), np.nan)
    for i in range(resamples):
        picked = random.integers(0, len(members), len(members))
        rows = np.concatenate([members[group] for group in picked])
        for name, value in figures(truth[rows], probabilities[rows]).items():
            drawn[name].append(value)
        there = np.unique(truth[rows])
        recalls[i, there] = by_genre(truth[rows], probabilities[rows])["recall"][there]
    genre = by_genre(truth, probabilities)
    return Judgement(
        n=len(truth),
        values=figures(truth, probabilities),
        intervals={name: _interval(np.array(values)) for name, values in drawn.items()},
        genres={
            name: {
                "n": int((truth == g).sum()),
                **{metric: round(float(values[g]), 6) for metric, values in genre.items()},
                "recall_interval": [round(x, 6) for x in _interval(recalls[:, g])],
            }
            for g, name in enumerate(genres)
            if (truth == g).any()
        },
        confusion=confusion(truth, probabilities.argmax(axis=1), len(genres)),
    )


def _interval(values: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return float(low), float(high)
