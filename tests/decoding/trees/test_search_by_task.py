"""Protects: the dynamic programme finds, for planted acceptance by task, depth and rank, what brute force finds."""

from __future__ import annotations

import numpy as np
import pytest

from spectui.decoding.trees.candidates import Extent, static_trees
from spectui.decoding.trees.costs import Costs, Machine, Timing
from spectui.decoding.trees.search import TreeSearch, expected_tokens
from spectui.store.reading.columns import Floats, Ints

NODES, RANKS, TASKS = 12, 4, 8


def planted(seed: int) -> list[list[float]]:
    """Shares by depth and rank as a task may have them: ranks not even in order, depths unlike."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(int(rng.integers(2, 5))):
        share = rng.dirichlet(np.full(RANKS + 1, 0.6))[:RANKS]
        rows.append(share.tolist())
    return rows


def priced(seed: int) -> Costs:
    rng = np.random.default_rng(seed)
    ms = 10.0 + np.cumsum(rng.exponential(1.0, size=4))
    verify = {n: Timing(float(t), float(t), float(t), 1) for n, t in zip((1, 4, 8, 13), ms, strict=True)}
    level = float(rng.exponential(1.0))
    draft = {1: Timing(level, level, level, 1)}
    return Costs(Machine("t", "d", "x", "f", 1, "0"), verify, draft, Timing(0.5, 0.5, 0.5, 1), 0, "")


class Everything:
    """Every tree that there is under `hits`, one by one: none is dropped on the way, whatever it is worth.

    208,012 ordered trees have twelve nodes; with at most four children a node, 158,170 are left.
    """

    def __init__(self, hits: list[list[float]]) -> None:
        self._hits = hits
        self._known: dict[tuple[int, int, int], tuple[Floats, Ints]] = {}

    def forests(self, level: int, rank: int, nodes: int) -> tuple[Floats, Ints]:
        """Of each way to put `nodes` below a node of depth `level`, as children of rank `rank` and up: the accepted
        tokens, and the height."""
        row = min(level, len(self._hits) - 1)  # deeper levels are like the last
        if nodes == 0:
            return np.zeros(1), np.zeros(1, dtype=np.int64)
        if rank == RANKS:
            return np.empty(0), np.empty(0, dtype=np.int64)
        if (row, rank, nodes) not in self._known:
            worth, height = [], []
            for size in range(1, nodes + 1):
                below, below_height = self.forests(row + 1, 0, size - 1)
                beside, beside_height = self.forests(row, rank + 1, nodes - size)
                worth.append((self._hits[row][rank] * (1.0 + below))[:, None] + beside[None])
                height.append(np.maximum(1 + below_height[:, None], beside_height[None]))
            self._known[row, rank, nodes] = (
                np.concatenate([w.ravel() for w in worth]),
                np.concatenate([h.ravel() for h in height]),
            )
        return self._known[row, rank, nodes]


def test_every_tree_is_every_tree() -> None:
    """Catalan's numbers, until a fifth child is refused."""
    everything = Everything(planted(0))
    assert [len(everything.forests(0, 0, n)[0]) for n in range(6)] == [1, 1, 2, 5, 14, 41]


@pytest.mark.parametrize("task", range(TASKS))
def test_of_all_trees_up_to_twelve_nodes_none_brings_more_tokens_a_second(task: int) -> None:
    hits, price = planted(task), priced(100 + task)
    everything, rate = Everything(hits), 0.0
    for nodes in range(1, NODES + 1):
        worth, height = everything.forests(0, 0, nodes)
        ms = np.array([np.nan, *(price.round_ms(nodes, level) for level in range(1, nodes + 1))])
        rate = max(rate, float(((1.0 + worth) / ms[height]).max()))
    (tree,) = static_trees(Extent(NODES, NODES), [hits], price, keep=1)
    found_rate = expected_tokens(tree, hits) / price.round_ms(tree.size, tree.max_depth)
    assert found_rate == pytest.approx(rate, rel=1e-9)


@pytest.mark.parametrize("task", range(TASKS))
def test_of_each_size_and_depth_none_brings_more_tokens(task: int) -> None:
    hits = planted(task)
    everything, search = Everything(hits), TreeSearch(hits, NODES, NODES)
    for nodes in range(1, NODES + 1):
        worth, height = everything.forests(0, 0, nodes)
        for depth in range(1, NODES + 1):
            fitting = worth[height <= depth]
            if not len(fitting):
                assert search.value(nodes, depth) == -np.inf
                continue
            assert search.value(nodes, depth) == pytest.approx(1.0 + float(fitting.max()))
            shape = search.shape(nodes, depth)
            assert (shape.size, shape.max_depth <= depth) == (nodes, True)
            assert expected_tokens(shape, hits) == pytest.approx(search.value(nodes, depth))
