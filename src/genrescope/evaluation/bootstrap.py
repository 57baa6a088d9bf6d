"""Bootstrap intervals: how much a score might differ on other tracks of the same kind.

Tracks that depend on each other, such as the tracks of an artist, are one group, and groups are
drawn as a whole (Efron and Tibshirani, An Introduction to the Bootstrap, 1993).

Where all resamples have one score, as where every track is predicted correctly, percentiles have no
width, however few the tracks are. Wilson's interval stands in there, see `interval`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RESAMPLES = 2000
# So many weights are in memory at once, 16 MB.
_AT_ONCE = 2_000_000
# Quantile of the normal distribution for 95 %, squared.
_Z_SQUARED = 1.959963984540054**2
# Sums of the same values in another order differ by less.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Figure:
    """A score with its 95 % interval."""

    value: float
    low: float
    high: float


def resampled(
    groups: Sequence[Any] | NDArray[Any], *, resamples: int = RESAMPLES, seed: int = 0
) -> Iterator[Floats]:
    """How often each resample has each track, float `[some, n]`, a few resamples at once.

    Parameters
    ----------
    groups
        Name of each track's group, `[n]`.
    """
    _, group_of = np.unique(np.asarray(groups), return_inverse=True)
    random = np.random.default_rng(seed)
    number = int(group_of.max()) + 1
    at_once = max(1, _AT_ONCE // len(group_of))
    for start in range(0, resamples, at_once):
        drawn = [
            np.bincount(random.integers(0, number, number), minlength=number)
            for _ in range(min(at_once, resamples - start))
        ]
        yield np.stack(drawn)[:, group_of].astype(float)


def mean(
    values: NDArray[Any],
    groups: Sequence[Any] | NDArray[Any],
    *,
    lowest: float = 0,
    seed: int = 0,
) -> Figure:
    """The mean over tracks, with percentiles of the means of resamples.

    Parameters
    ----------
    values
        One value for each track, `[n]`: a score, or the difference of two scores.
    groups
        Name of each track's group.
    lowest
        The least value that a track can have; the greatest is 1.

    Raises
    ------
    ValueError
        When there is no track, or the number of groups differs.
    """
    check(groups, len(values))
    each = np.asarray(values, float)
    drawn = [w @ each / w.sum(axis=1) for w in resampled(groups, seed=seed)]
    return Figure(
        float(np.mean(each)),
        *interval(np.concatenate(drawn), units=count_groups(groups), lowest=lowest),
    )


def count_groups(groups: Sequence[Any] | NDArray[Any]) -> int:
    """How many groups there are: the independent units of a bootstrap."""
    return len(np.unique(np.asarray(groups)))


def interval(drawn: Floats, *, units: int, lowest: float = 0) -> tuple[float, float]:
    """The 95 % interval of a score by its resamples: their middle 95 %.

    Where all resamples have the same score, they say nothing about units that were not drawn from.
    By Wilson's interval ("Probable Inference, the Law of Succession, and Statistical Inference",
    1927) up to `z² / (n + z²)` of all units may be unlike the `n` observed ones, and these may have
    any score. For a proportion of 0 or 1 the result is Wilson's interval itself.

    Parameters
    ----------
    drawn
        Score of each resample, NaN where it is not defined.
    units
        Groups that were drawn from, `n`.
    lowest
        The least score possible; the greatest is 1.

    Returns
    -------
    Low and high end; NaN where the score is never defined.
    """
    if np.isnan(drawn).all():
        return float("nan"), float("nan")
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    if np.nanmax(drawn) - np.nanmin(drawn) < _ROUNDING:
        unlike = _Z_SQUARED / (units + _Z_SQUARED)
        low, high = low - unlike * (low - lowest), high + unlike * (1 - high)
    return float(low), float(high)


def check(groups: Sequence[Any] | NDArray[Any], number: int) -> None:
    """Refuse groups of another number than the tracks, and no tracks."""
    if len(groups) != number or not number:
        raise ValueError(f"{len(groups)} groups do not match {number} values")
