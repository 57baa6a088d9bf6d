"""Bootstrap intervals: how much a score might differ on other tracks of the same kind.

Tracks that depend on each other, such as the tracks of an artist, are one group, and groups are
drawn as a whole (Efron and Tibshirani, An Introduction to the Bootstrap, 1993).
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


def mean(values: NDArray[Any], groups: Sequence[Any] | NDArray[Any], *, seed: int = 0) -> Figure:
    """The mean over tracks, with percentiles of the means of resamples.

    Parameters
    ----------
    values
        Of each track, `[n]`: a score, or the difference of two scores.
    groups
        Name of each track's group.

    Raises
    ------
    ValueError
        When there is no track, or the number of groups differs.
    """
    check(groups, len(values))
    each = np.asarray(values, float)
    drawn = [w @ each / w.sum(axis=1) for w in resampled(groups, seed=seed)]
    return Figure(float(np.mean(each)), *interval(np.concatenate(drawn)))


def interval(drawn: Floats) -> tuple[float, float]:
    """The middle 95 % of a score's resamples; NaN where it is never defined."""
    if np.isnan(drawn).all():
        return float("nan"), float("nan")
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def check(groups: Sequence[Any] | NDArray[Any], number: int) -> None:
    """Refuse groups of another number than the tracks, and no tracks."""
    if len(groups) != number or not number:
        raise ValueError(f"{len(groups)} groups do not match {number} values")
