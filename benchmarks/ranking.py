"""Scores of ranked lists: precision at k, and coverage of a catalogue.

Conventions
-----------
One list answers one query. Queries that depend on each other, such as an artist's tracks, are one
group, and a bootstrap draws groups as a whole.

Metrics
-------
Precision at k: the fraction of the first k items of a list that are relevant; the missing items of
a shorter list are not. Coverage: the fraction of a catalogue that is in at least one list.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from genrescope.evaluation.bootstrap import Figure, check, resampled

Floats = NDArray[np.float64]

# Quantile of the normal distribution: ± so many standard errors contain 95 %.
_WIDTH = 1.96


def precision_at(relevant: Sequence[Sequence[bool] | NDArray[np.bool_]], k: int) -> Floats:
    """Precision at `k` of each list, float `[lists]`.

    Parameters
    ----------
    relevant
        For each list whether its items are relevant, in the order of the list.
    k
        At least 1.

    Raises
    ------
    ValueError
        When `k` is less.
    """
    if k < 1:
        raise ValueError(f"precision at {k} is not defined, k is at least 1")
    return np.array([np.sum(each[:k]) / k for each in relevant], dtype=float)


def best_precision_at(available: Sequence[int] | NDArray[np.intp], k: int) -> Floats:
    """The highest possible precision at `k`, where so many relevant items exist, `[lists]`."""
    return np.minimum(available, k) / k


def coverage(
    lists: Sequence[Sequence[int]], catalogue: int, groups: Sequence[str], *, seed: int = 0
) -> Figure:
    """The fraction of a catalogue that is in at least one list.

    A resample of the queries has some of them twice, so its coverage is always smaller. Percentiles
    would lie below the score; the interval is ± 1.96 standard errors of the bootstrap instead (the
    standard normal interval of Efron and Tibshirani, An Introduction to the Bootstrap, 1993).

    Parameters
    ----------
    lists
        Indices of catalogue items.
    catalogue
        How many items there are.
    groups
        Name of the group of each list's query.

    Raises
    ------
    ValueError
        When there is no list, or the number of groups differs.
    """
    check(groups, len(lists))
    listed = np.zeros((len(lists), catalogue))
    for row, items in zip(listed, lists, strict=True):
        row[list(items)] = 1
    drawn = np.concatenate(
        [(weights @ listed > 0).mean(axis=1) for weights in resampled(groups, seed=seed)]
    )
    value, error = float(listed.any(axis=0).mean()), _WIDTH * float(drawn.std(ddof=1))
    return Figure(value, max(0.0, value - error), min(1.0, value + error))
