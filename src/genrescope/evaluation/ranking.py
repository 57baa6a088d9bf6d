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
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_RESAMPLES = 2000
# Standard errors on each side of a normal distribution's mean that hold 95 % of it.
_WIDTH = 1.96


@dataclass(frozen=True)
class Figure:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


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


def mean(values: Floats, groups: Sequence[str], *, seed: int = 0) -> Figure:
    """The mean over queries, with percentiles of a bootstrap over their groups.

    Parameters
    ----------
    values
        Float `[queries]`: precisions, or differences of two methods' on the same queries.
    groups
        Name of each query's group.

    Raises
    ------
    ValueError
        When there is no query, or the groups are of another number.
    """
    weights = _weights(groups, len(values), seed)
    low, high = np.percentile(weights @ values / weights.sum(axis=1), [2.5, 97.5])
    return Figure(float(np.mean(values)), float(low), float(high))


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
    shown = np.zeros((len(lists), catalogue))
    for row, items in zip(shown, lists, strict=True):
        row[list(items)] = 1
    drawn = (_weights(groups, len(lists), seed) @ shown > 0).mean(axis=1)
    value, error = float(shown.any(axis=0).mean()), _WIDTH * float(drawn.std(ddof=1))
    return Figure(value, max(0.0, value - error), min(1.0, value + error))


def _weights(groups: Sequence[str], queries: int, seed: int) -> Floats:
    """How often each resample holds each query, float `[resamples, queries]`."""
    if len(groups) != queries or not queries:
        raise ValueError(f"{len(groups)} groups do not go with {queries} queries")
    names, group_of = np.unique(np.asarray(groups), return_inverse=True)
    drawn = np.random.default_rng(seed).integers(0, len(names), (_RESAMPLES, len(names)))
    counts = np.stack([np.bincount(each, minlength=len(names)) for each in drawn])
    return counts[:, group_of].astype(float)
