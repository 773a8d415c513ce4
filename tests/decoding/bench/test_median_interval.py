"""Protects: what a bench prints beside a median is its interval, not the spread of prompts."""

from __future__ import annotations

import numpy as np
import pytest

from spectui.decoding.bench.paired import median_interval


@pytest.mark.parametrize(
    ("count", "low", "high"), [(6, 1, 6), (12, 3, 10), (28, 9, 20), (40, 14, 27), (9, 2, 8)]
)
def test_it_lies_between_two_of_the_ordered_values(count: int, low: int, high: int) -> None:
    """Ranks of order statistics from tables of the sign test."""
    values = [float(each) for each in range(1, count + 1)]
    assert median_interval(values[::-1]) == [low, high]


def test_five_prompts_have_none() -> None:
    assert median_interval([1.0, 2.0, 3.0, 4.0, 5.0]) is None


@pytest.mark.parametrize("count", [6, 12, 40])
def test_it_covers_the_median_of_skewed_ratios(count: int) -> None:
    """Quartiles of twelve do in 91 %, of three in half."""
    rng = np.random.default_rng(count)
    held = 0
    for _ in range(600):
        interval = median_interval(np.exp(rng.normal(scale=0.4, size=count)).tolist())
        assert interval is not None
        held += interval[0] <= 1.0 <= interval[1]
    assert held / 600 >= 0.94
