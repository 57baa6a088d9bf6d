"""One temperature that makes probabilities mean what they say (Guo et al. 2017)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from genrescope.aggregation import Aggregation, aggregate_logits


def fit_temperature(
    logits: Sequence[NDArray[np.floating]],
    truth: Sequence[int],
    rule: Aggregation = "mean_probability",
) -> float:
    """The temperature at which the tracks' true genres are likeliest.

    It is found for the vote over segments, because that is what a user is shown, by trying 161
    values from 0.1 to 10, 2.9 % apart.

    Parameters
    ----------
    logits
        `[segments, genres]` for each track, of tracks that were not trained on.
    truth
        Number of each track's genre.
    rule
        Of aggregation over the segments. For "median_probability" and "majority" it is fitted as
        for "mean_probability": counted votes hardly change with it.
    """
    if rule != "mean_logits":
        rule = "mean_probability"

    def loss(temperature: float) -> float:
        likely = [
            aggregate_logits(z, temperature, rule)[y] for z, y in zip(logits, truth, strict=True)
        ]
        return float(-np.log(np.maximum(likely, 1e-12)).mean())

    candidates = np.geomspace(0.1, 10, 161)
    return float(candidates[int(np.argmin([loss(t) for t in candidates]))])
