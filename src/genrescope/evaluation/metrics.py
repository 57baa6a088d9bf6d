"""Scores of predictions: accuracy, precision, recall, F1, calibration, and their intervals.

Conventions
-----------
`truth` is int `[n]`, the index of each track's genre; `probabilities` is float `[n, genres]`. One
row is one track: segments are aggregated first.

Metrics
-------
Accuracy; top-3 accuracy, whether the genre is among the three most probable (among all but one
where there are fewer than four genres); macro means of precision, recall and F1 over the genres
that occur in `truth` (a genre that is never predicted has precision 0); macro mean of the
one-vs-rest area under the ROC curve over the genres that some tracks have and some do not (Hanley
and McNeil 1982: the probability that a track of the genre gets a higher probability of it than
another track, ties counting half);
expected calibration error (Guo et al. 2017) with ten bins of equal width. Intervals are percentiles
of a bootstrap over tracks, or over groups of tracks (of one artist, say), which are drawn as a
whole; where all resamples agree, Wilson's, see `genrescope.evaluation.bootstrap.interval`. A score
that is not defined is NaN, and null in JSON.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genrescope.evaluation.bootstrap import RESAMPLES, count_groups, interval, resampled

Labels = NDArray[np.intp]
Probabilities = NDArray[np.float64]
Floats = NDArray[np.float64]

METRICS = (
    "accuracy",
    "top3_accuracy",
    "macro_precision",
    "macro_recall",
    "macro_f1",
    "roc_auc",
    "expected_calibration_error",
)
# The names in tables.
LABELS = {
    "accuracy": "accuracy",
    "top3_accuracy": "top-3 accuracy",
    "macro_precision": "macro precision",
    "macro_recall": "macro recall",
    "macro_f1": "macro F1",
    "roc_auc": "macro ROC-AUC",
    "expected_calibration_error": "calibration error",
}


def validate(truth: Labels, probabilities: Probabilities) -> None:
    """Refuse input whose scores would mean nothing.

    Raises
    ------
    ValueError
        With the reason.
    """
    if truth.ndim != 1 or probabilities.ndim != 2 or len(truth) != len(probabilities):
        raise ValueError(f"{truth.shape} labels do not match {probabilities.shape} probabilities")
    if len(truth) == 0:
        raise ValueError("there are no tracks to score")
    if truth.min() < 0 or truth.max() >= probabilities.shape[1]:
        raise ValueError("a label is not one of the genres")
    if not np.allclose(probabilities.sum(axis=1), 1, atol=1e-3):
        raise ValueError("probabilities do not sum to 1")
    if probabilities.min() < 0:
        raise ValueError("a probability is negative")


def confusion(truth: Labels, predicted: Labels, genres: int) -> NDArray[np.intp]:
    """The confusion matrix, counts `[genre, predicted genre]`."""
    counts = np.zeros((genres, genres), np.intp)
    np.add.at(counts, (truth, predicted), 1)
    return counts


def by_genre(truth: Labels, probabilities: Probabilities) -> dict[str, Floats]:
    """Precision, recall and F1 of each genre, each float `[genres]`; 0 where undefined."""
    return _by_genre(confusion(truth, probabilities.argmax(axis=1), probabilities.shape[1]))


def _by_genre(counts: NDArray[Any]) -> dict[str, Floats]:
    """As `by_genre`, `[..., genres]` from counts `[..., genre, predicted genre]`."""
    correct = np.diagonal(counts, axis1=-2, axis2=-1).astype(float)
    precision = correct / np.maximum(counts.sum(axis=-2), 1)
    recall = correct / np.maximum(counts.sum(axis=-1), 1)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    return {"precision": precision, "recall": recall, "f1": f1}


def in_top_k(truth: Labels, probabilities: Probabilities, k: int) -> NDArray[np.bool_]:
    """Whether a track's genre is among its `k` most probable; of equals the first, as in argmax."""
    own = probabilities[np.arange(len(truth)), truth][:, None]
    earlier = np.arange(probabilities.shape[1]) < truth[:, None]
    before = (probabilities > own) | ((probabilities == own) & earlier)
    return np.asarray(before.sum(axis=1) < k)


@dataclass(frozen=True)
class Bins:
    """Tracks by their confidence, in bins of equal width from 0 to 1.

    Attributes
    ----------
    n, confidence, correct
        Tracks, sum of their confidences, and correct predictions; float `[..., bins]`.
    """

    n: Floats
    confidence: Floats
    correct: Floats

    @property
    def error(self) -> Floats:
        """Expected calibration error `[...]`: |accuracy - confidence|, weighted by tracks."""
        error: Floats = abs(self.correct - self.confidence).sum(axis=-1) / self.n.sum(axis=-1)
        return error


def confidence_bins(
    truth: Labels, probabilities: Probabilities, bins: int = 10, weights: Floats | None = None
) -> Bins:
    """Sort tracks into bins by confidence.

    Parameters
    ----------
    weights
        Float `[..., n]`, how often each track counts; once if not given.
    """
    weights = np.ones(len(truth)) if weights is None else weights
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == truth
    inside = np.eye(bins)[np.minimum((confidence * bins).astype(int), bins - 1)]
    columns = (np.ones(len(truth)), confidence, correct)
    return Bins(*(weights @ (inside * column[:, None]) for column in columns))


def _roc_auc(truth: Labels, probabilities: Probabilities, weights: Floats) -> Floats:
    """Area under each genre's ROC curve `[resamples, genres]`; NaN where it is not defined.

    It is the fraction of the pairs of a track of the genre and another track in which the first
    has the higher probability.
    """
    areas = np.full((len(weights), probabilities.shape[1]), np.nan)
    for genre in np.unique(truth):
        ours, scores = truth == genre, probabilities[:, genre]
        others = np.sort(scores[~ours])
        # Cumulated weights of the others in their order, from none of them to all.
        order = np.argsort(scores[~ours], kind="stable")
        passed = np.zeros((len(weights), len(order) + 1))
        np.cumsum(weights[:, ~ours][:, order], axis=1, out=passed[:, 1:])
        less = passed[:, np.searchsorted(others, scores[ours], "left")]
        less_or_equal = passed[:, np.searchsorted(others, scores[ours], "right")]
        won = (weights[:, ours] * (less + less_or_equal) / 2).sum(axis=1)
        pairs = weights[:, ours].sum(axis=1) * passed[:, -1]
        np.divide(won, pairs, out=areas[:, genre], where=pairs > 0)
    return areas


def figures(truth: Labels, probabilities: Probabilities) -> dict[str, float]:
    """All of `METRICS`."""
    values, _ = _weighted(truth, probabilities, np.ones((1, len(truth))))
    return {name: float(value[0]) for name, value in values.items()}


def _weighted(
    truth: Labels, probabilities: Probabilities, weights: Floats
) -> tuple[dict[str, Floats], Floats]:
    """All of `METRICS`, each `[resamples]`, and the recalls `[resamples, genres]`.

    Parameters
    ----------
    weights
        Float `[resamples, n]`: how often a resample has each track.
    """
    genres, total = probabilities.shape[1], weights.sum(axis=1)
    predicted = probabilities.argmax(axis=1)
    cells = np.zeros((len(truth), genres * genres))
    cells[np.arange(len(truth)), truth * genres + predicted] = 1
    counts = (weights @ cells).reshape(-1, genres, genres)
    present = counts.sum(axis=2) > 0
    genre = {name: np.where(present, x, np.nan) for name, x in _by_genre(counts).items()}
    top = in_top_k(truth, probabilities, max(1, min(3, genres - 1)))
    values = {
        "accuracy": weights @ (predicted == truth) / total,
        "top3_accuracy": weights @ top / total,
        **{f"macro_{name}": _mean_of_defined(x) for name, x in genre.items()},
        "roc_auc": _mean_of_defined(_roc_auc(truth, probabilities, weights)),
        "expected_calibration_error": confidence_bins(truth, probabilities, 10, weights).error,
    }
    return values, genre["recall"]


def _mean_of_defined(values: Floats) -> Floats:
    """Mean over the last axis of what is not NaN; NaN where nothing is, without a warning."""
    defined = ~np.isnan(values)
    mean = np.full(values.shape[:-1], np.nan)
    number = defined.sum(axis=-1)
    np.divide(np.where(defined, values, 0).sum(axis=-1), number, out=mean, where=number > 0)
    return mean


def mean_and_deviation(accuracies: Sequence[float]) -> tuple[float, float]:
    """Mean over the folds of a cross-validation, and their standard deviation (n - 1).

    Raises
    ------
    ValueError
        When there are fewer than two folds.
    """
    if len(accuracies) < 2:
        raise ValueError("one fold has no spread")
    return float(np.mean(accuracies)), float(np.std(accuracies, ddof=1))


@dataclass(frozen=True)
class Scores:
    """Scores of predictions of tracks, each but the log-loss with its 95 % interval.

    Attributes
    ----------
    n
        Test tracks.
    values, intervals
        By name of the metric; an interval is (low, high).
    genres
        By genre: n, precision, recall, f1, and the interval of recall.
    confusion
        Counts `[genre, predicted genre]`.
    log_loss
        Mean of minus the natural logarithm of the probability of a track's genre, in nats.
    """

    n: int
    values: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    genres: dict[str, dict[str, Any]]
    confusion: NDArray[np.intp]
    log_loss: float

    def to_dict(self) -> dict[str, Any]:
        """The scores as a `RunResult` has them."""
        return {
            "n": self.n,
            **{name: _json(value) for name, value in self.values.items()},
            "interval": {
                name: [_json(low), _json(high)] for name, (low, high) in self.intervals.items()
            },
            "log_loss": round(self.log_loss, 6),
            "by_genre": self.genres,
            "confusion": self.confusion.tolist(),
        }


def compute_scores(
    truth: Labels,
    probabilities: Probabilities,
    genres: Sequence[str],
    *,
    groups: Sequence[str] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Scores:
    """All scores with 95 % intervals.

    Parameters
    ----------
    truth, probabilities
        See the conventions above.
    genres
        Names, in the order of the probabilities.
    groups
        Group of each track; tracks of one group are drawn together in the bootstrap. Each track is
        a group by itself if not given.
    resamples, seed
        Number of bootstrap resamples, and their seed.

    Raises
    ------
    ValueError
        See `validate`; also when the number of `genres` or `groups` differs.
    """
    validate(truth, probabilities)
    if len(genres) != probabilities.shape[1]:
        raise ValueError(f"{len(genres)} genres do not match {probabilities.shape} probabilities")
    if groups is not None and len(groups) != len(truth):
        raise ValueError(f"{len(groups)} groups do not match {len(truth)} labels")
    names = np.asarray(groups if groups is not None else np.arange(len(truth)))
    drawn: dict[str, list[Floats]] = {name: [] for name in METRICS}
    recalls = []
    for weights in resampled(names, resamples=resamples, seed=seed):
        values, recall = _weighted(truth, probabilities, weights)
        recalls.append(recall)
        for name, value in values.items():
            drawn[name].append(value)
    genre, recall = by_genre(truth, probabilities), np.concatenate(recalls)
    units = count_groups(names)
    units_of = [count_groups(names[truth == g]) for g in range(len(genres))]
    return Scores(
        n=len(truth),
        values=figures(truth, probabilities),
        intervals={
            name: interval(np.concatenate(values), units=units) for name, values in drawn.items()
        },
        genres={
            name: {
                "n": int((truth == g).sum()),
                **{metric: round(float(values[g]), 6) for metric, values in genre.items()},
                "recall_interval": [round(x, 6) for x in interval(recall[:, g], units=units_of[g])],
            }
            for g, name in enumerate(genres)
            if (truth == g).any()
        },
        confusion=confusion(truth, probabilities.argmax(axis=1), len(genres)),
        log_loss=log_loss(truth, probabilities),
    )


def log_loss(truth: Labels, probabilities: Probabilities) -> float:
    """Mean of minus the natural logarithm of the probability of each track's genre, in nats.

    It is the cross-entropy that networks are trained by. A probability of 0 counts as the smallest
    of a double, so that the result is finite.
    """
    own = probabilities[np.arange(len(truth)), truth]
    return float(-np.log(np.maximum(own, np.finfo(float).tiny)).mean())


def _json(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 6)
