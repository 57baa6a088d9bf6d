"""Two runs compared on the same tracks: the difference, its interval and its significance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genrescope.errors import DatasetError
from genrescope.evaluation.bootstrap import count_groups, interval, resampled
from genrescope.evaluation.predictions import Predictions, read_predictions
from genrescope.wording import counted

# Level of a test below which a difference is called significant.
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


def grouped_p(difference: Sequence[int] | NDArray[np.int_], groups: Sequence[Any]) -> float:
    """P of an exact sign-flip test in which the tracks of a group count as one.

    If both classifiers were equally good, the sum of a group's differences would be as likely as
    its negative: p is the probability of a total at least as far from 0 (R. A. Fisher, The design
    of experiments, 1935, section 21, with groups in the place of pairs). Where each track is its
    own group, that is McNemar's exact test.

    Parameters
    ----------
    difference
        For each track: 1 where only the second classifier predicted it correctly, -1 where only the
        first did, else 0, `[n]`.
    groups
        The group of each track, such as its artist.
    """
    totals: dict[Any, int] = {}
    for one, group in zip(difference, groups, strict=True):
        totals[group] = totals.get(group, 0) + int(one)
    steps = [abs(total) for total in totals.values() if total]
    # The distribution of the total over -largest … largest, one group after the other.
    largest = sum(steps)
    chance = np.zeros(2 * largest + 1)
    chance[largest] = 1.0
    for step in steps:
        # No total so far reaches the ends, so that nothing is rolled over them.
        chance = (np.roll(chance, step) + np.roll(chance, -step)) / 2
    observed = abs(sum(totals.values()))
    far = np.abs(np.arange(-largest, largest + 1)) >= observed
    return min(1.0, float(chance[far].sum()))


@dataclass(frozen=True)
class Comparison:
    """Two runs compared on the tracks that both were tested on.

    Attributes
    ----------
    n
        Tracks in common.
    accuracy_a, accuracy_b
        Accuracy of each run on those tracks.
    difference, interval
        Accuracy of b minus that of a, and its 95 % interval.
    mcnemar
        The test of the difference, which takes tracks as independent of each other.
    grouped_by_artist
        Whether artists are known: the bootstrap drew all tracks of one together then.
    artists
        How many the tracks are by, where that is known; a track of an unknown artist counts as one.
    artist_p
        p of the test by artist, see `grouped_p`; None where no artist is known.
    """

    n: int
    accuracy_a: float
    accuracy_b: float
    difference: float
    interval: tuple[float, float]
    mcnemar: McNemar
    grouped_by_artist: bool = False
    artists: int | None = None
    artist_p: float | None = None

    @property
    def p(self) -> float:
        """That of the test by artist where artists are known, else McNemar's."""
        return self.mcnemar.p if self.artist_p is None else self.artist_p

    def describe(self, a: str = "A", b: str = "B") -> list[str]:
        """The accuracies, their difference, the test and its meaning, a sentence each.

        Parameters
        ----------
        a, b
            Names of the runs.
        """
        counts, n = self.mcnemar, self.n
        low, high = (100 * value for value in self.interval)
        better = a if self.difference < 0 else b
        p = "p < 0.001" if self.p < 0.001 else f"p = {self.p:.3f}"
        test = "McNemar's exact test gives"
        if self.artists is not None:
            artists = counted(self.artists, "artist")
            test = f"a sign-flip test by artist ({artists}) gives"
        return [
            f"Both test subsets share {counted(n, 'track')}.",
            f"A, {a}: {self.accuracy_a * n:.0f} correct, {100 * self.accuracy_a:.1f} %",
            f"B, {b}: {self.accuracy_b * n:.0f} correct, {100 * self.accuracy_b:.1f} %",
            f"B minus A: {100 * self.difference:+.1f} points, 95 % interval {low:+.1f} to "
            f"{high:+.1f}",
            f"Only A is correct on {counts.only_a}, only B on {counts.only_b}; {test} {p}",
            f"{better} is significantly better (at the 5 % level)."
            if self.p < SIGNIFICANCE
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
    over tracks; the tracks of an artist are drawn together where artists are known, and the test
    is by artist then.

    Parameters
    ----------
    a, b
        Run folders, or their predictions.
    resamples, seed
        Number of bootstrap resamples, and their seed.

    Raises
    ------
    FileError
        When a run has no readable predictions.
    DatasetError
        When the runs have no track in common.

    Examples
    --------
    Two runs on the same four tracks; only the second predicts track 3 correctly.

    >>> import numpy as np
    >>> from genrescope.evaluation import compare
    >>> from genrescope.evaluation.predictions import Predictions
    >>> genres, tracks, truth = ("blues", "jazz"), ("1", "2", "3", "4"), np.array([0, 0, 1, 1])
    >>> rows = np.array([[0.8, 0.2], [0.7, 0.3], [0.6, 0.4], [0.1, 0.9]])
    >>> a = Predictions(genres, tracks, ("only",) * 4, truth, rows)
    >>> b = Predictions(genres, tracks, ("only",) * 4, truth, np.eye(2)[truth])
    >>> compare(a, b).difference
    0.25
    >>> compare(a, b).mcnemar
    McNemar(only_a=0, only_b=1, p=1.0)
    """
    a, b = ((r if isinstance(r, Predictions) else read_predictions(Path(r))) for r in (a, b))
    correct_a, correct_b = correct_tracks(a), correct_tracks(b)
    common = sorted(correct_a.keys() & correct_b.keys())
    if not common:
        names = [str(run) for run in (a, b) if not isinstance(run, Predictions)]
        raise DatasetError(f"{' and '.join(names) or 'the runs'}: no test track in common")
    of_a = np.array([correct_a[track] for track in common])
    of_b = np.array([correct_b[track] for track in common])
    test, n = mcnemar(of_a, of_b), len(common)
    artists = artists_of(a) | artists_of(b)
    groups = [artists.get(track, track) for track in common]
    low, high = _interval(of_b.astype(float) - of_a, groups, resamples=resamples, seed=seed)
    known = bool(artists.keys() & set(common))
    return Comparison(
        n,
        float(of_a.mean()),
        float(of_b.mean()),
        (test.only_b - test.only_a) / n,
        (low, high),
        test,
        grouped_by_artist=known,
        artists=len(set(groups)) if known else None,
        artist_p=grouped_p(of_b.astype(int) - of_a, groups) if known else None,
    )


def _interval(
    difference: NDArray[np.float64], groups: Sequence[Any], *, resamples: int, seed: int
) -> tuple[float, float]:
    """The 95 % interval of the mean difference of tracks, whose groups are drawn as a whole."""
    n = len(difference)
    if len(set(groups)) < n:
        numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
        numbered = [numbers[group] for group in groups]
        weights = resampled(numbered, resamples=resamples, seed=seed)
        drawn = np.concatenate([w @ difference / w.sum(axis=1) for w in weights])
        return interval(drawn, units=count_groups(numbered), lowest=-1)
    # Without groups a resample needs no drawing of tracks: all that matters is how many it has of
    # those that only one of the two predicted correctly, and these numbers are multinomial.
    shares = [np.mean(difference < 0), np.mean(difference > 0), np.mean(difference == 0)]
    counts = np.random.default_rng(seed).multinomial(n, shares, size=resamples)
    return interval((counts[:, 1] - counts[:, 0]) / n, units=n, lowest=-1)


def artists_of(run: Predictions) -> dict[tuple[str, str], str]:
    """The artist of each track where it is known, by the track's id and genre."""
    rows = zip(run.tracks, run.truth, run.artists or [""] * len(run.tracks), strict=True)
    return {(track, run.genres[truth]): artist for track, truth, artist in rows if artist}


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
