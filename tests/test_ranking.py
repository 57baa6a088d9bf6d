"""Precision and coverage of ranked lists."""

from __future__ import annotations

import numpy as np
import pytest
from ranking import best_precision_at, coverage, precision_at

from genrescope.evaluation.bootstrap import mean

A_TO_D = ["a", "b", "c", "d"]


class TestPrecision:
    """precision_at, best_precision_at"""

    def test_by_hand(self) -> None:
        relevant = [
            [True, False, True, True],
            [False, False, True, False],
            [True, True, True, True],
        ]
        assert precision_at(relevant, 1) == pytest.approx([1, 0, 1])
        assert precision_at(relevant, 2) == pytest.approx([1 / 2, 0, 1])
        assert precision_at(relevant, 4) == pytest.approx([3 / 4, 1 / 4, 1])

    def test_missing_items_are_not_relevant(self) -> None:
        assert precision_at([[True, True], []], 4) == pytest.approx([1 / 2, 0])

    def test_k_of_zero(self) -> None:
        with pytest.raises(ValueError, match="k is at least 1"):
            precision_at([[True]], 0)

    def test_the_highest_possible_precision(self) -> None:
        assert best_precision_at([0, 3, 10, 40], 10) == pytest.approx([0, 0.3, 1, 1])


class TestMean:
    """mean"""

    def test_by_hand_and_around_it(self) -> None:
        values = np.array([0.0, 0.5, 1.0, 0.5])
        found = mean(values, A_TO_D)
        assert found.value == 0.5
        assert 0 <= found.low < 0.5 < found.high <= 1

    def test_equal_values_say_nothing_of_a_part_of_all(self) -> None:
        found = mean(np.full(4, 0.25), A_TO_D)
        unlike = 1.96**2 / (4 + 1.96**2)  # of Wilson's interval
        expected = [0.25 - unlike * 0.25, 0.25 + unlike * 0.75]
        assert [found.low, found.high] == pytest.approx(expected, abs=1e-5)
        difference = mean(np.zeros(4), A_TO_D, lowest=-1)
        assert [difference.low, difference.high] == pytest.approx([-unlike, unlike], abs=1e-5)

    def test_95_of_100_intervals_contain_the_truth(self) -> None:
        random = np.random.default_rng(0)
        names = [str(i) for i in range(60)]
        inside = 0
        for _ in range(100):
            found = mean(random.binomial(1, 0.6, 60).astype(float), names)
            inside += found.low <= 0.6 <= found.high
        assert 88 <= inside <= 100

    def test_groups_are_drawn_as_a_whole(self) -> None:
        values = np.repeat([0.0, 1.0, 0.0, 1.0], 10)
        alone = mean(values, [str(i) for i in range(40)])
        together = mean(values, np.repeat(A_TO_D, 10).tolist())
        assert together.value == alone.value == 0.5
        assert together.high - together.low > 2 * (alone.high - alone.low)
        # Two of four groups are of either kind: the mean of a resample is a quarter's multiple.
        assert (4 * together.low, 4 * together.high) == (0, 4)

    def test_the_same_every_time(self) -> None:
        values = np.random.default_rng(0).random(20)
        names = [str(i) for i in range(20)]
        assert mean(values, names) == mean(values, names)

    @pytest.mark.parametrize(("values", "groups"), [([], []), ([1.0], A_TO_D)])
    def test_what_has_no_mean(self, values: list[float], groups: list[str]) -> None:
        with pytest.raises(ValueError, match="do not match"):
            mean(np.array(values), groups)


class TestCoverage:
    """coverage"""

    def test_by_hand(self) -> None:
        found = coverage([[0, 1], [1, 2], [2, 1], [0]], 6, A_TO_D)
        assert found.value == 0.5
        assert 0 <= found.low < 0.5 < found.high <= 1

    def test_everybody_gets_the_same(self) -> None:
        found = coverage([[0, 1]] * 4, 8, A_TO_D)
        assert (found.low, found.value, found.high) == (0.25, 0.25, 0.25)

    def test_the_interval_lies_around_the_figure(self) -> None:
        # Each query shows one item of its own: any resample of 50 shows but two thirds of them.
        found = coverage([[i] for i in range(50)], 100, [str(i) for i in range(50)])
        assert found.value == 0.5
        assert found.high - 0.5 == pytest.approx(0.5 - found.low)
        # The number of different ones among 50 draws of 50 has a deviation of 2.2.
        assert found.high - 0.5 == pytest.approx(1.96 * 0.0222, rel=0.1)

    def test_never_over_all(self) -> None:
        found = coverage([[0, 1], [2], [3], [3]], 4, A_TO_D)
        assert (found.value, found.high) == (1, 1)
        assert found.low < 1
