"""Statistics over frames, against SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("scipy", reason="needs genrescope[lab]")

import scipy.stats

from genrescope.errors import RecipeError
from genrescope.features.statistics import STATISTICS, statistics

SCIPYS = {
    "mean": lambda rows: rows.mean(axis=1),
    "std": lambda rows: rows.std(axis=1),
    "skew": lambda rows: scipy.stats.skew(rows, axis=1),
    "kurtosis": lambda rows: scipy.stats.kurtosis(rows, axis=1),
    "median": lambda rows: np.median(rows, axis=1),
    "min": lambda rows: rows.min(axis=1),
    "max": lambda rows: rows.max(axis=1),
}


@given(
    st.integers(1, 5),
    st.integers(3, 60),
    st.sampled_from([1e-6, 1.0, 1e5]),
    st.sampled_from([0.0, -100.0]),
    st.integers(0, 999),
)
def test_they_equal_scipys(size: int, frames: int, scale: float, offset: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    # A gamma distribution, because a symmetric one would have no skew to get wrong.
    values = (scale * (random.gamma(2.0, size=(size, frames)) + offset)).astype(np.float32)
    expected = np.concatenate([SCIPYS[name](values.astype(np.float64)) for name in STATISTICS])
    ours = statistics(values, STATISTICS)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5 * scale)


def test_all_rows_of_a_statistic_stand_together_in_the_order_asked_for() -> None:
    values = np.array([[1, 2, 3], [10, 20, 60]], np.float32)
    assert statistics(values, ["max", "mean"]).tolist() == [3, 60, 2, 30]


@pytest.mark.parametrize("value", [0.0, 0.1, -1e30, 1e-40])
def test_a_row_that_does_not_vary_has_neither_skew_nor_kurtosis(value: float) -> None:
    values = np.full((2, 7), value)  # in float64 the mean of 0.1 is not quite 0.1
    values[1] = [1, 2, 3, 4, 5, 6, 7]
    skew, _, kurtosis, of_ramp = statistics(values, ["skew", "kurtosis"])
    assert (skew, kurtosis) == (0, 0)
    assert of_ramp == pytest.approx(-1.25)


def test_an_unknown_statistic_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(RecipeError, match=r"no statistic 'mode'; there are: mean, std, .*max"):
        statistics(np.ones((1, 3), np.float32), ["mean", "mode"])


@pytest.mark.parametrize(("frames", "names"), [(0, ["mean"]), (3, [])])
def test_no_frames_or_no_statistics_are_refused(frames: int, names: list[str]) -> None:
    with pytest.raises(ValueError, match="no numbers"):
        statistics(np.ones((2, frames), np.float32), names)
