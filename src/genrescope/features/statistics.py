"""Statistics of each row of a feature over its frames.

These are the seven statistics of the FMA data set's descriptors (Defferrard et al. 2017). They are
computed as of a population, without corrections for a sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from genrescope.errors import UnknownNameError
from genrescope.features.spectrogram import FloatArray
from genrescope.registry import no_such

Statistic = Literal["mean", "std", "skew", "kurtosis", "median", "min", "max"]
STATISTICS: tuple[Statistic, ...] = get_args(Statistic)
"""All names, in the order in which FMA's code computes them."""


def statistics(values: FloatArray, names: Sequence[str] = STATISTICS) -> FloatArray:
    """Statistics of each row of a feature over its frames.

    Skew is `m3 / m2^1.5` and kurtosis `m4 / m2^2 - 3` (Fisher's, 0 for a normal distribution),
    where `mk` is the k-th central moment. Both are 0 for a constant row. The computation is in
    float64.

    Parameters
    ----------
    values
        `[size, frames]`, with at least one frame.
    names
        Some of `STATISTICS`.

    Returns
    -------
    array
        float32 `[size * len(names)]`: the first statistic of all rows, then the second of all
        rows, and so on.

    Raises
    ------
    UnknownNameError
        When a statistic is not known.
    ValueError
        When there is no frame or no statistic.
    """
    unknown = [name for name in names if name not in STATISTICS]
    if unknown:
        raise UnknownNameError(no_such("no statistic", unknown[0], STATISTICS))
    if not names or not values.shape[1]:
        raise ValueError(f"{len(names)} statistics of {values.shape[1]} frames give no numbers")
    # In float64 the sum of float32 numbers is exact, so the deviation of a constant row is exactly
    # 0.
    rows = values.astype(np.float32).astype(np.float64)
    return np.concatenate([_statistic(rows, name) for name in names]).astype(np.float32)


def _statistic(rows: NDArray[np.float64], name: str) -> NDArray[np.float64]:
    if name not in ("skew", "kurtosis"):
        computed: NDArray[np.float64] = getattr(np, name)(rows, axis=1)
        return computed
    deviation = rows.std(axis=1, keepdims=True)
    varies = deviation > 0
    centred = rows - rows.mean(axis=1, keepdims=True)
    scaled = np.divide(centred, deviation, out=np.zeros_like(rows), where=varies)
    if name == "skew":
        return np.asarray((scaled**3).mean(axis=1))
    return np.where(varies[:, 0], (scaled**4).mean(axis=1) - 3, 0.0)
