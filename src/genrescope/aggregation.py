"""Aggregation: from the model's outputs for segments to the probabilities of a track.

Conventions
-----------
Four rules are built in; another package adds one by an entry point of the group
`genrescope.aggregations` whose value is a `Rule`. "mean_probability" averages the probabilities of
the segments. "mean_logits" averages their logits (the logarithms of the probabilities, which differ
from the logits by a constant), so that one segment may rule out a genre. "median_probability" takes
the median of each genre's probabilities and scales the medians to sum to 1. "majority" counts the
segments whose most probable genre it is, the mode of the kth paper; the mean probabilities count as
one further vote, shared among the genres, which only breaks ties.

>>> import numpy as np
>>> segments = np.array([[0.9, 0.1], [0.4, 0.6], [0.4, 0.6]])
>>> aggregate(segments).round(3)
array([0.567, 0.433])
>>> aggregate(segments, "majority").round(3)
array([0.392, 0.608])
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator

from genrescope.errors import UnknownNameError
from genrescope.registry import Registry, no_such

Probabilities = NDArray[np.float64]


def softmax(logits: NDArray[np.floating], temperature: float = 1.0) -> NDArray[np.float64]:
    """Probabilities from logits `[..., genres]`; a temperature above 1 makes them less certain."""
    scaled = logits.astype(np.float64) / temperature
    powers = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


@dataclass(frozen=True)
class Rule:
    """A rule of aggregation.

    Attributes
    ----------
    apply
        From probabilities of segments `[segments, genres]` to those of the track, `[genres]`.
    calibrated_as
        Name of the rule for which a temperature is fitted in place of this one, whose result hardly
        depends on the temperature; None to fit it for this rule.
    """

    apply: Callable[[Probabilities], Probabilities]
    calibrated_as: str | None = None


def _mean_probability(probabilities: Probabilities) -> Probabilities:
    return np.asarray(probabilities.mean(axis=0))


def _mean_logits(probabilities: Probabilities) -> Probabilities:
    return softmax(np.log(np.maximum(probabilities, np.finfo(float).tiny)).mean(axis=0))


def _median_probability(probabilities: Probabilities) -> Probabilities:
    median = np.median(probabilities, axis=0)
    # Where the segments disagree entirely, the median of every genre can be 0.
    return np.asarray(median / median.sum()) if median.sum() > 0 else probabilities.mean(axis=0)


def _majority(probabilities: Probabilities) -> Probabilities:
    segments, genres = probabilities.shape
    votes = np.bincount(probabilities.argmax(axis=1), minlength=genres)
    return np.asarray((votes + probabilities.mean(axis=0)) / (segments + 1))


MEAN_PROBABILITY = Rule(_mean_probability)
MEAN_LOGITS = Rule(_mean_logits)
MEDIAN_PROBABILITY = Rule(_median_probability, calibrated_as="mean_probability")
MAJORITY = Rule(_majority, calibrated_as="mean_probability")

_BUILTIN = {
    "mean_probability": "genrescope.aggregation:MEAN_PROBABILITY",
    "mean_logits": "genrescope.aggregation:MEAN_LOGITS",
    "median_probability": "genrescope.aggregation:MEDIAN_PROBABILITY",
    "majority": "genrescope.aggregation:MAJORITY",
}

RULES = Registry("aggregation", "genrescope.aggregations", _BUILTIN)


def _known(name: str) -> str:
    if name not in RULES:
        raise UnknownNameError(no_such("no aggregation", name, RULES.names()))
    return name


Aggregation = Annotated[str, AfterValidator(_known)]
"""Name of a rule."""


def aggregate(
    probabilities: Probabilities, rule: Aggregation = "mean_probability"
) -> Probabilities:
    """Probabilities of a track from those of its segments, `[segments, genres]` to `[genres]`."""
    found: Rule = RULES.get(rule)
    return found.apply(probabilities)


def aggregate_logits(
    logits: NDArray[np.floating],
    temperature: float = 1.0,
    rule: Aggregation = "mean_probability",
) -> NDArray[np.float64]:
    """Probabilities of a track from the logits of its segments, `[segments, genres]`."""
    return aggregate(softmax(logits, temperature), rule)
