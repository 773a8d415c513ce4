"""The dynamic programme against every tree there is: a tree that is not the best costs speed unnoticed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spectui.decoding.trees.search import TreeSearch, expected_tokens
from spectui.decoding.trees.shape import TreeShape
from spectui.decoding.trees.spec import parse_shape, recycling_shape

Forest = tuple["Forest", ...]
"""A node's children from rank 0 on, each with its own."""

MOST_NODES, MOST_DEPTH = 6, 4

# Rows need not fall by rank: measured ones do not always.
rows = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=3).map(
    lambda row: [share / max(sum(row), 1.0) for share in row]
)
profiles = st.lists(rows, min_size=1, max_size=4)


@cache
def _forests(nodes: int, depth: int) -> tuple[Forest, ...]:
    """Every ordered forest of `nodes` nodes at most `depth` deep."""
    if nodes == 0:
        return ((),)
    if depth == 0:
        return ()
    return tuple(
        (first, *rest)
        for size in range(1, nodes + 1)
        for first in _forests(size - 1, depth - 1)
        for rest in _forests(nodes - size, depth)
    )


def _paths(forest: Forest, above: tuple[int, ...] = ()) -> Iterator[tuple[int, ...]]:
    for rank, tree in enumerate(forest):
        yield (*above, rank)
        yield from _paths(tree, (*above, rank))


@settings(deadline=None)
@given(profiles)
def test_no_tree_of_any_size_and_depth_is_expected_to_bring_more(hits: list[list[float]]) -> None:
    search = TreeSearch(hits, MOST_NODES, MOST_DEPTH)

    def has_ranks(path: tuple[int, ...]) -> bool:
        return path[-1] < len(hits[min(len(path), len(hits)) - 1])

    for nodes in range(1, MOST_NODES + 1):
        for depth in range(1, MOST_DEPTH + 1):
            known = [
                expected_tokens(TreeShape.from_paths("t", paths), hits)
                for paths in map(list, map(_paths, _forests(nodes, depth)))
                if all(map(has_ranks, paths))
            ]
            best = max(known, default=-math.inf)
            assert search.value(nodes, depth) == pytest.approx(best)
            if known:
                shape = search.shape(nodes, depth)
                assert (shape.size, shape.max_depth <= depth) == (nodes, True)
                assert expected_tokens(shape, hits) == pytest.approx(best)
                assert sorted(parse_shape(shape.name).paths()) == sorted(shape.paths())
            else:
                with pytest.raises(ValueError, match="no tree"):
                    search.shape(nodes, depth)


def test_the_value_of_a_tree_is_its_mean_round_by_definition() -> None:
    """Two levels by hand: .5 + .2 for the root's children, .5 * .4 below the first."""
    shape = parse_shape("paths:00,1")
    assert expected_tokens(shape, [[0.5, 0.2], [0.4]]) == pytest.approx(1.0 + 0.5 + 0.2 + 0.5 * 0.4)
    assert expected_tokens(parse_shape("chain:3"), [[0.5]]) == pytest.approx(1.0 + 0.5 + 0.25 + 0.125)


def test_where_ranks_fall_it_finds_what_taking_the_best_paths_in_turn_finds() -> None:
    """`recycling_shape` cuts its trees greedily, which is optimal when hits fall by rank."""
    hits = [[0.40 / (rank + 1) ** 2 for rank in range(8)]]
    search = TreeSearch(hits, 31, 8)
    for nodes in (1, 4, 8, 16, 31):
        greedy = recycling_shape(nodes)
        assert search.value(nodes, 8) == pytest.approx(expected_tokens(greedy, hits))
