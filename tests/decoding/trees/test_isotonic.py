"""Protects the regression that costs and calibration share: it never falls, and no rising curve is closer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectui.decoding.trees.isotonic import rising

points = st.lists(st.tuples(st.floats(-5, 5), st.integers(1, 9)), min_size=1, max_size=8)


def test_a_fall_is_shared_by_weight() -> None:
    assert rising([1.0, 3.0, 2.0, 4.0], [1, 1, 3, 1]) == pytest.approx([1.0, 2.25, 2.25, 4.0])


@given(points, st.lists(st.floats(-5, 5), min_size=8, max_size=8))
def test_no_rising_curve_is_closer(known: list[tuple[float, int]], other: list[float]) -> None:
    values, weights = np.array([value for value, _ in known]), np.array([weight for _, weight in known])
    curve = rising(values.tolist(), weights.tolist())
    assert np.all(np.diff(curve) >= 0)
    for rival in (np.sort(other[: len(known)]), np.sort(values), np.maximum.accumulate(values)):
        assert weights @ (curve - values) ** 2 <= weights @ (rival - values) ** 2 + 1e-9
