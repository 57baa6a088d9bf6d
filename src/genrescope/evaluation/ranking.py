"""How good ranked lists are: what share of them fits, and how much of a catalogue they show.

Conventions
-----------
One list answers one query. Queries that depend on each other, such as an artist's tracks, are one
group, and a bootstrap draws groups whole.

Metrics
-------
Precision at k: of the first k places of a list the share that fits; a place that a short list
leaves empty does not fit. Coverage: of a catalogue the share that is in at least one list.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from genrescope.evaluation.bootstrap import Figure, check, resampled

Floats = NDArray[np.float64]

# Standard errors on each side of a normal distribution's mean that hold 95 % of it.
_WIDTH = 1.96


def precision_at(fits: Sequence[Sequence[bool] | NDArray[np.bool_]], k: int) -> Floats:
    """Precision at `k` of each list, float `[lists]`.

    Parameters
    ----------
    fits
        For each list whether its places fit, the first place first.
    k
        At least 1.

    Raises
    ------
    ValueError
        When `k` is less.
    """
    if k < 1:
        raise ValueError(f"a precision at {k} places says nothing")
    return np.array([np.sum(each[:k]) / k for each in fits], dtype=float)


def best_precision_at(fitting: Sequence[int] | NDArray[np.intp], k: int) -> Floats:
    """The precision at `k` that no list can beat where there are so many that fit, `[lists]`."""
    return np.minimum(fitting, k) / k


def coverage(
    lists: Sequence[Sequence[int]], catalogue: int, groups: Sequence[str], *, seed: int = 0
) -> Figure:
    """The share of a catalogue that is in at least one list.

    A resample of the queries holds some of them twice and so always shows less. Its percentiles
    would lie below the figure; the interval is 1.96 standard errors of the bootstrap to each side
    of it instead (the standard normal interval of Efron and Tibshirani, An Introduction to the
    Bootstrap, 1993).

    Parameters
    ----------
    lists
        Numbers of catalogue items, from 0.
    catalogue
        How many items there are.
    groups
        Name of the group of each list's query.

    Raises
    ------
    ValueError
        When there is no list, or the groups are of another number.
    """
    check(groups, len(lists))
    shown = np.zeros((len(lists), catalogue))
    for row, items in zip(shown, lists, strict=True):
        row[list(items)] = 1
    drawn = np.concatenate(
        [(weights @ shown > 0).mean(axis=1) for weights in resampled(groups, seed=seed)]
    )
    value, error = float(shown.any(axis=0).mean()), _WIDTH * float(drawn.std(ddof=1))
    return Figure(value, max(0.0, value - error), min(1.0, value + error))
