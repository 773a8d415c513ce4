"""Protects: the dynamic programme finds, for planted acceptance by task, depth and rank, what brute force finds."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from decoding.budget.candidates import Extent, static_trees
from decoding.budget.prices import Priced
from decoding.costs import Costs, Machine, Timing
from decoding.tree import TreeShape
from decoding.tree_search import TreeSearch, expected_tokens

NODES, RANKS = 12, 4
Paths = frozenset[tuple[int, ...]]


def planted(seed: int) -> list[list[float]]:
    """Shares by depth and rank as a task may have them: ranks not even in order, depths unlike."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(int(rng.integers(2, 5))):
        share = rng.dirichlet(np.full(RANKS + 1, 0.6))[:RANKS]
        rows.append(share.tolist())
    return rows


def priced(seed: int) -> Priced:
    rng = np.random.default_rng(seed)
    ms = 10.0 + np.cumsum(rng.exponential(1.0, size=4))
    verify = {n: Timing(float(t), float(t), float(t), 1) for n, t in zip((1, 4, 8, 13), ms, strict=True)}
    level = float(rng.exponential(1.0))
    return Priced(
        Costs(Machine("t", "d", "x", "f", 1, "0"), verify, Timing(level, level, level, 1), Timing(0.5, 0.5, 0.5, 1),
              0, ""), "planted",
    )  # fmt: skip


def grown(trees: set[Paths]) -> Iterator[Paths]:
    """Every tree with one node more: a first child, or the next sibling, of any node."""
    for tree in trees:
        for parent in [(), *tree]:
            rank = sum(1 for path in tree if len(path) == len(parent) + 1 and path[: len(parent)] == parent)
            if rank < RANKS:
                yield tree | {(*parent, rank)}


def every_tree(most: int) -> list[TreeShape]:
    trees: set[Paths] = {frozenset()}
    found: list[TreeShape] = []
    for _ in range(most):
        trees = set(grown(trees))
        found += [TreeShape.from_paths("t", [list(p) for p in tree]) for tree in trees]
    return found


@pytest.fixture(scope="module")
def small_trees() -> list[TreeShape]:
    return every_tree(6)


@pytest.mark.parametrize("task", range(4))
def test_the_tree_of_most_tokens_a_second_is_that_of_all_trees(
    task: int, small_trees: list[TreeShape]
) -> None:
    hits, price = planted(task), priced(100 + task)
    best = max(small_trees, key=lambda t: expected_tokens(t, hits) / price.ms(t.size, t.max_depth))
    rate = expected_tokens(best, hits) / price.ms(best.size, best.max_depth)
    found = static_trees(Extent(6, 6), [np.array(hits)], price, keep=1)
    assert len(found) == 1
    mine = expected_tokens(found[0], hits) / price.ms(found[0].size, found[0].max_depth)
    assert mine == pytest.approx(rate, rel=1e-9)


def best_by_recursion(hits: list[list[float]], nodes: int, depth: int) -> float:
    """Accepted tokens of the best tree of exactly `nodes`, by splitting off every possible first subtree."""
    known: dict[tuple[int, int, int], float] = {}

    def forest(level: int, rank: int, left: int) -> float:
        # Trees for the children of rank >= `rank` of a node at `level`, of `left` nodes together.
        if left == 0:
            return 0.0
        if level == depth or rank == RANKS:
            return -np.inf
        key = (level, rank, left)
        if key not in known:
            share = hits[min(level, len(hits) - 1)][rank]
            known[key] = (
                max(
                    share * (1.0 + forest(level + 1, 0, size - 1)) + forest(level, rank + 1, left - size)
                    for size in range(1, left + 1)
                    if np.isfinite(forest(level + 1, 0, size - 1))
                    and np.isfinite(forest(level, rank + 1, left - size))
                )
                if any(
                    np.isfinite(forest(level + 1, 0, size - 1))
                    and np.isfinite(forest(level, rank + 1, left - size))
                    for size in range(1, left + 1)
                )
                else -np.inf
            )
        return known[key]

    return forest(0, 0, nodes)


@pytest.mark.parametrize("task", range(8))
def test_up_to_twelve_nodes_no_division_of_them_is_better(task: int) -> None:
    hits = planted(task)
    search = TreeSearch(hits, NODES, 6)
    for nodes in range(1, NODES + 1):
        for depth in (1, 2, 4, 6):
            expected = 1.0 + best_by_recursion(hits, nodes, depth)
            assert search.value(nodes, depth) == pytest.approx(expected)
            if np.isfinite(expected):
                assert expected_tokens(search.shape(nodes, depth), hits) == pytest.approx(expected)
