"""The interval of a median, whatever the distribution; no numpy, which takes longer to import than it is worth here."""

from __future__ import annotations

import math

LEVEL = 0.95
"""Of every interval that spectui gives."""


def median_ranks(count: int) -> tuple[int, int] | None:
    """Places, in ascending order from 0, of the two of `count` values that are the ends of their median's interval.

    The k-th from either end, for the largest k that leaves out the median in at most one of twenty, whatever the
    distribution. None with fewer than six values, whose extremes leave it out more often.
    """
    below, k = 0.0, 0
    while below + math.comb(count, k) / 2**count <= (1 - LEVEL) / 2:
        below += math.comb(count, k) / 2**count
        k += 1
    return (k - 1, count - k) if k else None
