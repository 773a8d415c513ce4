"""Rounds grouped by the shape of their tree."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


def tree_ids(node_round: Ints, place: Ints, rounds: int) -> Ints:
    """[R], equal for rounds whose nodes have the same places; 0 without nodes. `place` [N] is any number for each."""
    sums = np.zeros(rounds, dtype=np.uint64)
    np.add.at(sums, node_round, _mixed(place.astype(np.uint64)))
    return sums.view(np.int64)


def places(depth: Ints, rank: Ints, parent: Ints) -> Ints:
    """[N], a number for each node's path of ranks from the root; `parent` is an index, below 0 for the root."""
    numbers = np.zeros(len(depth), dtype=np.uint64)
    for level in range(1, int(depth.max(initial=0)) + 1):
        at_level = np.flatnonzero(depth == level)
        above = parent[at_level]
        before = np.where(above >= 0, numbers[np.maximum(above, 0)], np.uint64(1))
        numbers[at_level] = _mixed(
            before * np.uint64(0x9E3779B97F4A7C15) + rank[at_level].astype(np.uint64) + np.uint64(1)
        )
    return numbers.view(np.int64)


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The bits of 64-bit numbers well mixed (the finaliser of splitmix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
