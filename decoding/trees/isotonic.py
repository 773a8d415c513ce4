"""Isotonic regression: the rising curve that is closest to noisy values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def rising(values: Sequence[float], weights: Sequence[float]) -> NDArray[np.float64]:
    """The closest curve to `values` that never falls, by weighted least squares (pool adjacent violators)."""
    pools: list[tuple[float, float, int]] = []
    for value, weight in zip(values, weights, strict=True):
        pools.append((value, weight, 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (last, last_weight, last_count), (before, before_weight, before_count) = pools.pop(), pools.pop()
            weight_of_both = before_weight + last_weight
            mean = (before * before_weight + last * last_weight) / weight_of_both
            pools.append((mean, weight_of_both, before_count + last_count))
    return np.repeat([value for value, _, _ in pools], [count for _, _, count in pools])
