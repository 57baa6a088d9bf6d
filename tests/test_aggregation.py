"""Aggregation of segments to a track: the four rules, and how ties are broken."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from genrescope.aggregation import RULES, Rule, aggregate, aggregate_logits, softmax
from genrescope.errors import RecipeError
from genrescope.evaluation.calibration import fit_temperature
from genrescope.training.recipe import load_recipe

LOGITS = st.tuples(st.integers(1, 40), st.integers(2, 12)).flatmap(
    lambda shape: arrays(np.float32, shape, elements=st.floats(-30, 30, width=32))
)


def test_mean_is_the_mean() -> None:
    segments = np.array([[0.9, 0.1], [0.2, 0.8], [0.1, 0.9]])
    np.testing.assert_allclose(aggregate(segments), [0.4, 0.6])
    np.testing.assert_allclose(aggregate(segments, "mean_probability"), aggregate(segments))


def test_mean_logits_lets_one_segment_rule_out_a_genre() -> None:
    segments = np.array([[0.6, 0.4], [0.6, 0.4], [1e-4, 0.9999]])
    odds = (0.4 / 0.6) ** 2 * 0.9999 / 1e-4
    first = 1 / (1 + odds ** (1 / 3))
    np.testing.assert_allclose(aggregate(segments, "mean_logits"), [first, 1 - first])
    assert aggregate(segments, "majority").argmax() == 0


@given(LOGITS, st.floats(0.1, 10))
def test_mean_logits_is_the_softmax_of_the_mean_of_the_logits(
    logits: np.ndarray, temperature: float
) -> None:
    expected = softmax(logits.astype(np.float64).mean(axis=0), temperature)
    aggregated = aggregate_logits(logits, temperature, "mean_logits")
    np.testing.assert_allclose(aggregated, expected, atol=1e-9, rtol=1e-6)


def test_mean_logits_sums_to_1_where_the_segments_rule_out_every_genre() -> None:
    np.testing.assert_allclose(aggregate(np.eye(3), "mean_logits"), [1 / 3] * 3)


def test_median_ignores_one_segment_that_is_certain_of_another_genre() -> None:
    segments = np.array([[0.6, 0.4, 0.0], [0.6, 0.3, 0.1], [0.0, 0.0, 1.0]])
    assert aggregate(segments, "mean_probability").argmax() == 0
    # The medians 0.6, 0.3 and 0.1 sum to 1 already.
    np.testing.assert_allclose(aggregate(segments, "median_probability"), [0.6, 0.3, 0.1])
    tilted = np.array([[0.5, 0.5, 0.0], [0.4, 0.0, 0.6], [0.3, 0.7, 0.0]])
    np.testing.assert_allclose(aggregate(tilted, "median_probability"), [4 / 9, 5 / 9, 0])


def test_medians_that_are_all_zero_fall_back_to_the_mean() -> None:
    segments = np.eye(3)
    np.testing.assert_allclose(aggregate(segments, "median_probability"), [1 / 3] * 3)


def test_majority_counts_genres_not_probabilities() -> None:
    segments = np.array([[0.51, 0.49], [0.51, 0.49], [0.0, 1.0]])
    assert aggregate(segments, "mean_probability").argmax() == 1
    # Two votes to one, and the means 0.34 and 0.66 share a fourth.
    np.testing.assert_allclose(aggregate(segments, "majority"), [2.34 / 4, 1.66 / 4])


def test_majority_breaks_ties_by_the_mean() -> None:
    segments = np.array([[0.6, 0.4, 0.0], [0.3, 0.7, 0.0], [0.1, 0.0, 0.9]])
    # One vote each; the means are 0.333, 0.367 and 0.3.
    assert aggregate(segments, "majority").argmax() == 1
    assert aggregate(segments[:, [1, 0, 2]], "majority").argmax() == 0


@given(LOGITS)
def test_majority_names_one_of_the_most_frequent_genres(
    logits: np.ndarray,
) -> None:
    segments = softmax(logits)
    votes = np.bincount(segments.argmax(axis=1), minlength=segments.shape[1])
    most, mean = votes == votes.max(), segments.mean(axis=0)
    chosen = aggregate(segments, "majority").argmax()
    assert most[chosen]
    # What differs by less than the rounding of a sum is a tie of the means as well.
    assert mean[chosen] >= mean[most].max() - 1e-12


@given(
    LOGITS,
    st.sampled_from(["mean_probability", "median_probability", "majority"]),
    st.floats(0.05, 20),
)
def test_probabilities_are_probabilities(
    logits: np.ndarray, aggregation: str, temperature: float
) -> None:
    probabilities = aggregate_logits(logits, temperature, aggregation)  # type: ignore[arg-type]
    assert probabilities.shape == (logits.shape[1],)
    assert probabilities.sum() == pytest.approx(1)
    assert probabilities.min() >= 0


@given(
    LOGITS, st.sampled_from(["mean_probability", "median_probability", "majority"]), st.randoms()
)
def test_the_order_of_the_segments_does_not_matter(
    logits: np.ndarray, aggregation: str, random: object
) -> None:
    order = np.arange(len(logits))
    random.shuffle(order)  # type: ignore[attr-defined]
    np.testing.assert_allclose(
        aggregate_logits(logits, 1.0, aggregation),  # type: ignore[arg-type]
        aggregate_logits(logits[order], 1.0, aggregation),  # type: ignore[arg-type]
        atol=1e-12,
    )


def test_a_high_temperature_lowers_confidence_and_keeps_the_order() -> None:
    logits = np.array([[2.0, 0.0, -1.0]])
    sharp, flat = aggregate_logits(logits), aggregate_logits(logits, 10)
    assert sharp.argmax() == flat.argmax() == 0
    assert sharp.max() > flat.max() > 1 / 3


def test_a_rule_of_another_package_is_known_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new rule is one value: recipes, bundles and the fit of a temperature take it as it is."""
    monkeypatch.setitem(RULES._places, "largest", f"{__name__}:LARGEST")
    segments = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]])
    np.testing.assert_allclose(aggregate(segments, "largest"), [0.9 / 1.7, 0.8 / 1.7])
    recipe = load_recipe("default", ["aggregation=largest"])
    assert recipe.aggregation == "largest"
    logits = [np.log(segments), np.log(segments[:, ::-1])]
    own, of_the_mean = (fit_temperature(logits, [0, 1], r) for r in ("largest", "mean_probability"))
    assert own != of_the_mean
    assert fit_temperature(logits, [0, 1], "majority") == of_the_mean


def test_an_unknown_rule_is_refused_with_the_nearest() -> None:
    with pytest.raises(
        RecipeError, match=r"no aggregation 'majorty' \(did you mean 'majority'\?\)"
    ):
        load_recipe("default", ["aggregation=majorty"])


def _largest(probabilities: np.ndarray) -> np.ndarray:
    largest = probabilities.max(axis=0)
    return largest / largest.sum()


LARGEST = Rule(_largest)
