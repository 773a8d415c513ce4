"""The trees that are weighed against each other, for one kind of drafter and the costs of one machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from spectui.decoding.trees.advise.calibration import Calibration
from spectui.decoding.trees.advise.positions import NO_RANK, Walks
from spectui.decoding.trees.advise.prices import Priced
from spectui.decoding.trees.search import TreeSearch
from spectui.decoding.trees.shape import MAX_BRANCHING, MAX_DEPTH, DynamicShape, Shape, TreeShape
from spectui.decoding.trees.spec import chain_shape, dynamic_shape
from spectui.store.reading.columns import Floats, Ints

NODES = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 24, 32)
DEPTHS = (1, 2, 3, 4, 5, 6, 8)
LEAST = (2, 3, 4, 6)
AROUND = (0.7, 1.0, 1.4)
"""Multiples of the break-even that stopping rules are tried at: whether a node pays also hangs on the others."""
FEWEST = 5
"""Rounds that must have reached a depth for its shares to be believed."""


@dataclass(frozen=True)
class Extent:
    """How much there is to choose from: what the recorded trees, or the costs, go up to."""

    nodes: int
    depth: int


def extent_of(walks: Walks) -> Extent:
    """Of what was recorded."""
    nodes = walks.rounds.nodes
    sizes = np.bincount(nodes.round, minlength=1)
    return Extent(int(sizes.max(initial=0)), int(nodes.depth.max(initial=0)))


def dynamic_trees(extent: Extent) -> list[DynamicShape]:
    """Trees that the draft's probabilities choose the nodes of, of every size and depth."""
    return [
        dynamic_shape(nodes, depth)
        for nodes in NODES
        for depth in DEPTHS
        if nodes <= extent.nodes and depth <= min(extent.depth, nodes)
    ]


def stopping_trees(
    extent: Extent, priced: Priced, calibration: Calibration, tokens_per_ms: float
) -> list[DynamicShape]:
    """Dynamic trees that expand a node only while that gains more than it costs.

    At a rate of tokens per millisecond a row pays if its chance to be accepted is above the rate times
    the milliseconds it adds; the calibration curve says which probability of the draft means that
    chance. A level pays if the nodes that it would grow from bring enough together.
    """
    found: dict[str, DynamicShape] = {}
    most = extent.nodes
    row_ms = (priced.ms(most, 1) - priced.ms(min(2, most), 1)) / max(most - 2, 1)
    level_ms = priced.ms(2, 2) - priced.ms(2, 1)
    onward = max(calibration.onward, 0.05)
    for least in LEAST:
        for depth in (d for d in (3, 4, 6) if d <= extent.depth):
            if least >= most:
                continue
            for by in AROUND:
                floor = round(calibration.probability_of(by * tokens_per_ms * row_ms), 2)
                for also in AROUND:
                    stop = round(also * tokens_per_ms * (level_ms + row_ms) / onward, 2)
                    shape = dynamic_shape(most, depth, least, min(max(floor, 0.01), 1.0), min(stop, 10.0))
                    found[shape.name] = shape
    return list(found.values())


def static_trees(extent: Extent, shares: Sequence[Floats], priced: Priced, keep: int = 3) -> list[TreeShape]:
    """For each profile of acceptance by depth and rank, the trees that Sequoia's programme finds best by
    tokens per second: the best of each depth, `keep` depths of them."""
    found: dict[str, TreeShape] = {}
    for hits in shares:
        search = TreeSearch([row.tolist() for row in hits], extent.nodes, extent.depth)
        ranked = []
        for depth in range(1, extent.depth + 1):
            rate, nodes = max(
                (search.value(n, depth) / priced.ms(n, depth), n) for n in range(1, extent.nodes + 1)
            )
            if rate > 0.0:
                ranked.append((rate, nodes, depth))
        for _, nodes, depth in sorted(ranked, reverse=True)[:keep]:
            shape = search.shape(nodes, depth)
            shape = chain_shape(shape.size) if shape.width == 1 else shape
            found[shape.name] = shape
    return list(found.values())


def rank_shares(walks: Walks, chosen: Ints | None = None) -> Floats:
    """``[depth, rank]``: of recorded rounds whose path reached depth d and whose tree went on there, the share
    that goes on with the rank-r child. `chosen` ``[P]`` weighs prompts; depths seldom reached are left out."""
    weight = np.ones(len(walks.rounds.length)) if chosen is None else chosen.astype(np.float64)
    of = weight[walks.prompt] * walks.fresh
    ranks = min(int(walks.rounds.nodes.rank.max(initial=0)) + 1, MAX_BRANCHING)
    rows = []
    left = walks.rounds.length[walks.prompt] - walks.place
    for step in range(min(walks.depth + 1, MAX_DEPTH)):
        on = walks.length > step
        ended = (walks.length == step) & (walks.end_children > 0) & (left > step)
        risk = of[on].sum() + of[ended].sum()
        if risk < FEWEST:
            break
        hits = np.zeros(ranks)
        if step < walks.depth and on.any():
            rank = walks.rank[on, step]
            known = rank != NO_RANK
            hits += np.bincount(rank[known], weights=of[on][known], minlength=ranks)[:ranks]
        rows.append(hits / risk)
    return np.array(rows) if rows else np.zeros((1, ranks))


def full_trees(extent: Extent) -> list[Shape]:
    """The named static trees: chains, and full trees of which the study's is one."""
    from spectui.decoding.trees.spec import full_shape

    found: list[Shape] = [chain_shape(n) for n in range(1, min(extent.depth, 8) + 1)]
    for depth in (1, 2, 3, 4):
        for branching in (2, 3, 4):
            size = sum(branching**d for d in range(1, depth + 1))
            if size <= extent.nodes and depth <= extent.depth:
                found.append(full_shape(depth, branching))
    return found
