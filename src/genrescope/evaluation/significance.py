"""Whether one run is better than another on the same tracks, or only luckier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genrescope.errors import DatasetError
from genrescope.evaluation.predictions import read_predictions


@dataclass(frozen=True)
class McNemar:
    """Tracks on which two classifiers differ.

    Attributes
    ----------
    only_a, only_b
        Tracks that only the one, only the other named right.
    p
        How likely so uneven a pair of numbers is, if both were equally good.
    """

    only_a: int
    only_b: int
    p: float


def mcnemar(
    right_a: Sequence[bool] | NDArray[np.bool_], right_b: Sequence[bool] | NDArray[np.bool_]
) -> McNemar:
    """McNemar's test, in its exact form: the two-sided binomial test.

    If both were equally good, a track that only one names right would be either's with a chance of
    one half: p is twice the lower tail of the binomial distribution, at most 1 (McNemar 1947, "Note
    on the sampling error of the difference between correlated proportions or percentages";
    Conover, "Practical nonparametric statistics", the sign test and its variations).

    Parameters
    ----------
    right_a, right_b
        Whether each named the track right, in the same order of tracks, `[n]`.

    Raises
    ------
    ValueError
        When they are of another length.
    """
    a, b = np.asarray(right_a, bool), np.asarray(right_b, bool)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"{a.shape} answers do not go with {b.shape}")
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    n, tail, term = only_a + only_b, 0, 1
    for k in range(min(only_a, only_b) + 1):
        tail += term
        term = term * (n - k) // (k + 1)
    return McNemar(only_a, only_b, min(1.0, 2 * tail / 2**n))


@dataclass(frozen=True)
class Comparison:
    """Two runs on the tracks that both judged.

    Attributes
    ----------
    n
        Tracks in common.
    accuracy_a, accuracy_b
        Of each, on those.
    difference, interval
        Accuracy of b less that of a, and its 95 % interval.
    mcnemar
        The test of the difference.
    """

    n: int
    accuracy_a: float
    accuracy_b: float
    difference: float
    interval: tuple[float, float]
    mcnemar: McNemar


def compare_predictions(
    run_a: Path, run_b: Path, *, resamples: int = 10_000, seed: int = 0
) -> Comparison:
    """Compare two runs by their `predictions.csv` on the tracks that both judged.

    A track is known by its id and genre. One that a run judged several times (a repeated split)
    counts once, by the mean of its probabilities. The interval is of a paired bootstrap over
    tracks.

    Parameters
    ----------
    run_a, run_b
        Run folders.
    resamples, seed
        Of the bootstrap.

    Raises
    ------
    FileError
        When a run has no readable predictions.
    DatasetError
        When the runs have no track in common.
    """
    answers_a, answers_b = _right(run_a), _right(run_b)
    common = sorted(answers_a.keys() & answers_b.keys())
    if not common:
        raise DatasetError(f"{run_a} and {run_b}: no track was judged by both")
    a = np.array([answers_a[track] for track in common])
    b = np.array([answers_b[track] for track in common])
    test, n = mcnemar(a, b), len(common)
    # A resample needs no drawing of tracks: how many it has of those that only the one or only the
    # other named right is all that matters, and that is multinomial.
    same = n - test.only_a - test.only_b
    drawn = np.random.default_rng(seed).multinomial(
        n, np.array([test.only_a, test.only_b, same]) / n, size=resamples
    )
    low, high = np.percentile((drawn[:, 1] - drawn[:, 0]) / n, [2.5, 97.5])
    return Comparison(
        n,
        float(a.mean()),
        float(b.mean()),
        (test.only_b - test.only_a) / n,
        (float(low), float(high)),
        test,
    )


def _right(run: Path) -> dict[tuple[str, str], bool]:
    """Whether each track was named right, by id and genre."""
    predictions = read_predictions(run)
    rows: dict[tuple[str, str], list[int]] = {}
    for i, (track, truth) in enumerate(zip(predictions.tracks, predictions.truth, strict=True)):
        rows.setdefault((track, predictions.genres[truth]), []).append(i)
    return {
        (track, genre): predictions.genres[predictions.probabilities[i].mean(axis=0).argmax()]
        == genre
        for (track, genre), i in rows.items()
    }
