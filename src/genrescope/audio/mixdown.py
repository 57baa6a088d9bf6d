"""Many channels to one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]


def mean_of_channels(channels: NDArray[Any], full_scale: float = 1.0) -> Samples:
    """Give the mean of `channels` [c, n], divided by `full_scale`, as new float32 [n]."""
    weights = np.full(len(channels), 1 / (len(channels) * full_scale), np.float32)
    # Damaged floats may be NaN or overflow; they are replaced later, with a warning.
    with np.errstate(invalid="ignore", over="ignore"):
        values = channels.astype(np.float32, copy=False)
        # A product with the weights takes a tenth of the time of NumPy's mean(axis=0).
        mean: Samples = values[0] * weights[0] if len(channels) == 1 else weights @ values
    return mean
