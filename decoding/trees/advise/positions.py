"""For every position of a session's output: the accepted path from there, and the drafted nodes below it.

A run with another tree begins its rounds at other positions. Each position was in a recorded tree once: as the root of
a round, or as an accepted node, whose subtree holds what the draft proposed from there on.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from spectui.decoding.errors import UsageError
from spectui.decoding.trees.candidates import Extent
from spectui.decoding.trees.shape import TreeShape
from spectui.decoding.trees.spec import parse_tree
from spectui.store.reading.choices import choices
from spectui.store.reading.columns import Bools, Floats, Ints, read_columns
from spectui.store.reading.reader import Reader

NO_RANK = -1
_FAR = np.iinfo(np.int64).max // 2

_ROUND_COLUMNS = (
    "round.prefix_length - generation.prompt_tokens", "round.accepted_length", "round.draft_ms", "round.verify_ms",
    "round.other_ms", "round.choice_id",
)  # fmt: skip
_NODE_COLUMNS = ("node.depth", "node.rank", "node.draft_p", "node.accepted")


@dataclass(frozen=True)
class RoundNodes:
    """The nodes of rounds as columns ``[N]``, round after round, each in its own order."""

    round: Ints
    """Index of the node's round."""
    parent: Ints
    """Number of the parent within its round, -1 for the root."""
    depth: Ints
    rank: Ints
    draft_p: Floats
    """NaN where the drafter has no probabilities."""
    accepted: Bools


@dataclass(frozen=True)
class Rounds:
    """Rounds as columns ``[R]``, prompt by prompt in order, and their nodes."""

    prompt: Ints
    offset: Ints
    """Tokens of the output before the round."""
    accepted: Ints
    """Accepted length."""
    draft_ms: Floats
    verify_ms: Floats
    other_ms: Floats
    nodes: RoundNodes
    length: Ints
    """``[P]``: tokens of each prompt's output."""
    limit: Ints
    """``[R]``: the deepest that the round's tree could have been."""
    floor: Floats
    """``[R]``: nodes that the draft thought likelier than this were recorded, if they were not too deep."""
    trees: tuple[str, ...]
    fixed: Bools
    """``[R]``: whether the tree was a static one, which does not depend on probabilities."""
    tree: Ints
    """``[R]``: index of the round's tree in `trees`."""
    task: tuple[str, ...]
    """``[P]``"""
    prompt_id: tuple[str, ...]
    """``[P]``"""


@np.errstate(invalid="raise")
def read_rounds(reader: Reader, session_id: int) -> Rounds:
    """All rounds of a session that have one, in one state. Raises `StoreError` when it cannot be read."""
    with reader.snapshot():
        # Prompts whose rejected nodes were given up cannot be replayed.
        prompts = [
            g for g in reader.generations(session_id, texts=False) if g.round_count and g.pruned_at is None
        ]
        columns = read_columns(reader, session_id, prompts, _ROUND_COLUMNS, _NODE_COLUMNS)
        trees = {float(choice.id): choice.tree for choice in choices(reader, session_id)}
        whole = reader.session(session_id).tree
    offset, accepted, draft_ms, verify_ms, other_ms, choice_id = columns.rounds
    depth, rank, draft_p, node_accepted = columns.nodes
    nodes = RoundNodes(
        columns.node_round,
        columns.parent,
        depth.astype(np.int64),
        rank.astype(np.int64),
        draft_p,
        node_accepted == 1,
    )
    names = tuple(dict.fromkeys([whole, *trees.values()]))
    recorded = [_recorded_by(name) for name in names]
    tree = np.array([names.index(trees.get(choice, whole)) for choice in choice_id.tolist()], dtype=np.int64)
    return Rounds(
        prompt=columns.round_prompt,
        offset=offset.astype(np.int64),
        accepted=accepted.astype(np.int64),
        draft_ms=draft_ms,
        verify_ms=verify_ms,
        other_ms=other_ms,
        nodes=nodes,
        limit=np.maximum(np.array([each.limit for each in recorded])[tree], deepest(nodes, len(tree))),
        floor=np.array([each.floor for each in recorded])[tree],
        fixed=np.array([each.fixed for each in recorded])[tree],
        trees=names,
        tree=tree,
        length=np.array([g.token_count for g in prompts], dtype=np.int64),
        task=tuple(g.task for g in prompts),
        prompt_id=tuple(g.prompt_id for g in prompts),
    )


class _Recorded(NamedTuple):
    """The part of all that a draft could propose that trees of a name are sure to hold."""

    limit: int = 0
    """Depth down to which the tree is whole; 0 where only each round's nodes show it."""
    floor: float = 1.0
    """Draft probability from which on the tree holds every node; 1 where none is sure."""
    fixed: bool = False


def _recorded_by(tree: str) -> _Recorded:
    """A tree beside a lookup's chain, or one that stops by itself, was in no round deeper than its nodes are."""
    try:
        shape = parse_tree(tree)
    except UsageError:
        return _Recorded()
    if isinstance(shape, TreeShape):
        return _Recorded(shape.max_depth, fixed=True)
    if shape.confidence > 0.0:
        return _Recorded()
    return _Recorded(0 if shape.stop > 0.0 else shape.max_depth, shape.floor or 1.0)


@dataclass(frozen=True)
class Positions:
    """Every position that a round may begin at, ``[K]``, and the nodes below it, ``[M]``, by position, best first.

    A node is below the root of its round and below each of its accepted ancestors.
    """

    rounds: Rounds
    prompt: Ints
    offset: Ints
    """Tokens of the output before it."""
    is_root: Bools
    """True where a round began; all others are accepted nodes."""
    round: Ints
    length: Ints
    """Accepted nodes below it, within its round."""
    rank: Ints
    """``[K, D]``: their ranks, then `NO_RANK`."""
    end_children: Ints
    """Children of the last of them, all rejected."""
    levels_left: Ints
    """Most levels that the recorded tree could have had below it."""
    floor: Floats
    """Nodes whose path from here the draft thought likelier than this were recorded, if they were not too deep."""
    node: Ints
    """``[M]``: the position that each node is below."""
    node_depth: Ints
    """``[M]``: from 1, below the position."""
    node_probability: Floats
    """``[M]``: the draft's probability of the path from the position to the node; NaN without one."""
    node_step: Ints
    """``[M]``: number of the node among the accepted ones below the position, from 0; -1 for a rejected one."""

    @property
    def depth(self) -> int:
        """D, of the longest path."""
        return int(self.rank.shape[1])

    @property
    def tokens_left(self) -> Ints:
        """``[K]``: tokens of the output from here to its end; 0 at the very end."""
        return self.rounds.length[self.prompt] - self.offset

    @cached_property
    def has_probabilities(self) -> bool:
        """True where the draft states probabilities."""
        return bool(len(self.node_probability)) and not bool(np.isnan(self.node_probability).any())

    def order(self, max_depth: int | Ints) -> tuple[Ints, Bools]:
        """The number of better nodes that each node has, ``[M]``, among those at most `max_depth` deep (one number, or
        one a position ``[K]``); and whether it is among those itself."""
        kept = self.node_depth <= (max_depth if isinstance(max_depth, int) else max_depth[self.node])
        position = self.node[kept]
        count = np.bincount(position, minlength=len(self.length))
        first = np.cumsum(count) - count
        better = np.full(len(kept), _FAR, dtype=np.int64)
        better[kept] = np.arange(len(position)) - first[position]
        return better, kept


def positions_of(rounds: Rounds) -> Positions:
    """The positions of `rounds`: as many as their outputs have tokens, and one at the very end of an output whose
    last round was cut."""
    nodes = rounds.nodes
    count = len(rounds.prompt)
    # Positions of a round: its root, then its accepted nodes in order of depth. The last token of an output is
    # the root of nothing.
    steps = rounds.accepted
    size = 1 + steps
    first = np.concatenate([[0], np.cumsum(size)])
    total = int(first[-1])
    of_round = np.repeat(np.arange(count), size)
    within = np.arange(total) - first[of_round]
    deepest_step = int(steps.max(initial=0))
    start = np.searchsorted(nodes.round, np.arange(count))
    log_p = np.log(np.maximum(nodes.draft_p, 1e-30))
    path_log_p = np.zeros(len(nodes.depth))
    anchor = np.zeros(len(nodes.depth), dtype=np.int64)
    """Depth of the deepest accepted proper ancestor: the node is below the positions 0..anchor of its round."""
    parent_at = np.where(nodes.parent < 0, -1, start[nodes.round] + nodes.parent)
    for level in range(1, int(nodes.depth.max(initial=0)) + 1):
        at = np.flatnonzero(nodes.depth == level)
        above = parent_at[at]
        inner = above >= 0
        path_log_p[at] = log_p[at] + np.where(inner, path_log_p[above], 0.0)
        anchor[at] = np.where(inner, np.where(nodes.accepted[above], level - 1, anchor[above]), 0)
    path_rank = np.full((count, max(deepest_step, 1)), NO_RANK, dtype=np.int64)
    accepted_log_p = np.zeros((count, max(deepest_step, 1) + 1))
    on = np.flatnonzero(nodes.accepted)
    path_rank[nodes.round[on], nodes.depth[on] - 1] = nodes.rank[on]
    accepted_log_p[nodes.round[on], nodes.depth[on]] = path_log_p[on]
    # Children of the last accepted node.
    is_end = np.where(parent_at < 0, steps[nodes.round] == 0, False)
    inner = parent_at >= 0
    above = np.where(inner, parent_at, 0)
    if len(above):
        ends_there = nodes.accepted[above] & (nodes.depth[above] == steps[nodes.round])
        is_end |= inner & ends_there
    end_children = np.bincount(nodes.round[is_end], minlength=count)
    rank = np.full((total, max(deepest_step, 1)), NO_RANK, dtype=np.int64)
    for step in range(deepest_step):
        source = within + step
        has = source < steps[of_round]
        rank[has, step] = path_rank[of_round[has], source[has]]
    # Pairs of a position and a node below it.
    repeats = anchor + 1
    node = np.repeat(np.arange(len(repeats)), repeats)
    up = np.arange(len(node)) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    position = first[nodes.round[node]] + up
    depth = nodes.depth[node] - up
    log_p_below = path_log_p[node] - accepted_log_p[nodes.round[node], up]
    step_of = np.where(nodes.accepted[node], depth - 1, -1)
    best = np.lexsort((nodes.rank[node], depth, -log_p_below, position))
    unknown = np.isnan(nodes.draft_p[node])
    with np.errstate(invalid="ignore"):  # nodes without a probability make their round's NaN, as they should
        floor = np.where(
            rounds.fixed,
            _floor_of_static(rounds, path_log_p, parent_at),
            _floor_of_dynamic(rounds, path_log_p),
        )
    return Positions(
        rounds=rounds,
        prompt=rounds.prompt[of_round],
        offset=rounds.offset[of_round] + within,
        is_root=within == 0,
        round=of_round,
        length=steps[of_round] - within,
        rank=rank,
        end_children=end_children[of_round],
        levels_left=rounds.limit[of_round] - within,
        floor=floor[of_round] / np.exp(accepted_log_p[of_round, within]),
        node=position[best],
        node_depth=depth[best],
        node_probability=np.where(unknown, np.nan, np.exp(log_p_below))[best],
        node_step=step_of[best],
    )


def _floor_of_dynamic(rounds: Rounds, path_log_p: Floats) -> Floats:
    """``[R]``: probability that no node left out exceeds, in a tree of the likeliest ones."""
    least = np.full(len(rounds.prompt), np.inf)
    np.minimum.at(least, rounds.nodes.round, np.exp(path_log_p))
    floor: Floats = np.minimum(least, rounds.floor)
    return floor


def _floor_of_static(rounds: Rounds, path_log_p: Floats, parent_at: Ints) -> Floats:
    """``[R]``: probability that no node left out exceeds in a static tree, unless it was deeper: no child is likelier
    than its recorded siblings, and one without any no likelier than its parent."""
    nodes, inner = rounds.nodes, parent_at >= 0
    at_root = np.zeros(len(rounds.prompt))
    np.minimum.at(at_root, nodes.round[~inner], path_log_p[~inner])
    of_child = path_log_p.copy()
    np.minimum.at(of_child, parent_at[inner], path_log_p[inner])
    grew = nodes.depth < rounds.limit[nodes.round]
    np.maximum.at(at_root, nodes.round[grew], of_child[grew])
    floor: Floats = np.exp(at_root)
    return floor


def deepest(nodes: RoundNodes, rounds: int) -> Ints:
    """``[R]``: depth of each round's deepest node."""
    depth = np.zeros(rounds, dtype=np.int64)
    np.maximum.at(depth, nodes.round, nodes.depth)
    return depth


def extent_of(positions: Positions) -> Extent:
    """The most nodes of a recorded round, and its deepest one."""
    nodes = positions.rounds.nodes
    sizes = np.bincount(nodes.round, minlength=1)
    return Extent(int(sizes.max(initial=0)), int(nodes.depth.max(initial=0)))
