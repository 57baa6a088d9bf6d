"""Two runs compared on the same tracks: the difference, its interval and its significance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genrescope.errors import DatasetError
from genrescope.evaluation.predictions import Predictions, read_predictions

# Level of McNemar's test below which a difference is called significant.
SIGNIFICANCE = 0.05


@dataclass(frozen=True)
class McNemar:
    """The result of McNemar's exact test of two classifiers.

    Attributes
    ----------
    only_a, only_b
        Tracks that only the first, only the second predicted correctly.
    p
        Probability of numbers at least as unequal, if both were equally good.
    """

    only_a: int
    only_b: int
    p: float


def mcnemar(
    correct_a: Sequence[bool] | NDArray[np.bool_], correct_b: Sequence[bool] | NDArray[np.bool_]
) -> McNemar:
    """McNemar's test in its exact form, the two-sided binomial test.

    If both classifiers were equally good, a track that only one predicts correctly would be either
    one's with probability 1/2: p is twice the lower tail of the binomial distribution, at most 1
    (McNemar 1947, "Note on the sampling error of the difference between correlated proportions or
    percentages"; Conover, "Practical nonparametric statistics", the sign test and its variations).

    Parameters
    ----------
    correct_a, correct_b
        Whether each classifier predicted the track correctly, in the same order of tracks, `[n]`.

    Raises
    ------
    ValueError
        When their lengths differ.
    """
    a, b = np.asarray(correct_a, bool), np.asarray(correct_b, bool)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"{a.shape} predictions do not match {b.shape}")
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    n, tail, term = only_a + only_b, 0, 1
    for k in range(min(only_a, only_b) + 1):
        tail += term
        term = term * (n - k) // (k + 1)
    return McNemar(only_a, only_b, min(1.0, 2 * tail / 2**n))


@dataclass(frozen=True)
class Comparison:
    """Two runs compared on the tracks that both were tested on.

    Attributes
    ----------
    n
        Tracks in common.
    accuracy_a, accuracy_b
        Of each run, on those.
    difference, interval
        Accuracy of b minus that of a, and its 95 % interval.
    mcnemar
        The test of the difference.
    """

    n: int
    accuracy_a: float
    accuracy_b: float
    difference: float
    interval: tuple[float, float]
    mcnemar: McNemar

    def describe(self, a: str = "A", b: str = "B") -> list[str]:
        """The accuracies, their difference, the test and its meaning, a sentence each.

        Parameters
        ----------
        a, b
            Names of the runs.
        """
        test, n = self.mcnemar, self.n
        low, high = (100 * value for value in self.interval)
        better = a if self.difference < 0 else b
        p = "p < 0.001" if test.p < 0.001 else f"p = {test.p:.3f}"
        return [
            f"{n} tracks are in both test subsets.",
            f"A, {a}: {self.accuracy_a * n:.0f} correct, {100 * self.accuracy_a:.1f} %",
            f"B, {b}: {self.accuracy_b * n:.0f} correct, {100 * self.accuracy_b:.1f} %",
            f"B minus A: {100 * self.difference:+.1f} points, 95 % interval {low:+.1f} to "
            f"{high:+.1f}",
            f"Only A is correct on {test.only_a}, only B on {test.only_b}; McNemar's exact test "
            f"gives {p}",
            f"{better} is significantly better (at the 5 % level)."
            if test.p < SIGNIFICANCE
            else "No significant difference (at the 5 % level) on these tracks.",
        ]


def compare(
    a: Predictions | str | PathLike[str],
    b: Predictions | str | PathLike[str],
    *,
    resamples: int = 10_000,
    seed: int = 0,
) -> Comparison:
    """Compare two runs on the tracks that both were tested on.

    A track is identified by its id and genre. One that a run predicted several times (repeated
    folds) counts once, with the mean of its probabilities. The interval is of a paired bootstrap
    over tracks.

    Parameters
    ----------
    a, b
        Run folders, or their predictions.
    resamples, seed
        Of the bootstrap.

    Raises
    ------
    FileError
        When a run has no readable predictions.
    DatasetError
        When the runs have no track in common.

    Examples
    --------
    >>> from genrescope.evaluation import compare
    >>> compare("runs/a", "runs/b").mcnemar.p  # doctest: +SKIP
    0.03
    """
    correct_a, correct_b = correct_tracks(a), correct_tracks(b)
    common = sorted(correct_a.keys() & correct_b.keys())
    if not common:
        names = [str(run) for run in (a, b) if not isinstance(run, Predictions)]
        raise DatasetError(f"{' and '.join(names) or 'the runs'}: no test track in common")
    of_a = np.array([correct_a[track] for track in common])
    of_b = np.array([correct_b[track] for track in common])
    test, n = mcnemar(of_a, of_b), len(common)
    # A resample needs no drawing of tracks: all that matters is how many it has of those that only
    # one of the two predicted correctly, and these numbers are multinomial.
    same = n - test.only_a - test.only_b
    drawn = np.random.default_rng(seed).multinomial(
        n, np.array([test.only_a, test.only_b, same]) / n, size=resamples
    )
    low, high = np.percentile((drawn[:, 1] - drawn[:, 0]) / n, [2.5, 97.5])
    return Comparison(
        n,
        float(of_a.mean()),
        float(of_b.mean()),
        (test.only_b - test.only_a) / n,
        (float(low), float(high)),
        test,
    )


def correct_tracks(run: Predictions | str | PathLike[str]) -> dict[tuple[str, str], bool]:
    """Whether each track was predicted correctly, by id and genre."""
    found = run if isinstance(run, Predictions) else read_predictions(Path(run))
    rows: dict[tuple[str, str], list[int]] = {}
    for i, (track, truth) in enumerate(zip(found.tracks, found.truth, strict=True)):
        rows.setdefault((track, found.genres[truth]), []).append(i)
    return {
        (track, genre): found.genres[found.probabilities[i].mean(axis=0).argmax()] == genre
        for (track, genre), i in rows.items()
    }
