"""What a session says about every place of its text: the draft's path from there, and the nodes beside it.

A run with another tree begins its rounds at other places. Each place of the text was in a tree once: as the
root of a round, or as an accepted node, whose subtree is what the draft said from there on. A *walk* is
such a place with the accepted path behind it.
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
    place: Ints
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
    """``[R]``: whether the tree was a static one, which has no regard to probabilities."""
    tree: Ints
    """``[R]``: which of `trees` the round had."""
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
    place, accepted, draft_ms, verify_ms, other_ms, choice_id = columns.rounds
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
    reach = [_reach_of(name) for name in names]
    tree = np.array([names.index(trees.get(choice, whole)) for choice in choice_id.tolist()], dtype=np.int64)
    return Rounds(
        prompt=columns.round_prompt,
        place=place.astype(np.int64),
        accepted=accepted.astype(np.int64),
        draft_ms=draft_ms,
        verify_ms=verify_ms,
        other_ms=other_ms,
        nodes=nodes,
        limit=np.maximum(np.array([r.limit for r in reach])[tree], deepest(nodes, len(tree))),
        floor=np.array([r.floor for r in reach])[tree],
        fixed=np.array([r.fixed for r in reach])[tree],
        trees=names,
        tree=tree,
        length=np.array([g.token_count for g in prompts], dtype=np.int64),
        task=tuple(g.task for g in prompts),
        prompt_id=tuple(g.prompt_id for g in prompts),
    )


class _Reach(NamedTuple):
    """How much of what the draft could say trees of a name have."""

    limit: int = 0
    """The depth that the tree is whole at; 0 where its rounds alone can tell."""
    floor: float = 1.0
    """The draft's probability from which on it has every node; 1 where it tells none."""
    fixed: bool = False


def _reach_of(tree: str) -> _Reach:
    """A tree beside a lookup's chain, or one that stops by itself, was no deeper in a round than its nodes are."""
    try:
        shape = parse_tree(tree)
    except UsageError:
        return _Reach()
    if isinstance(shape, TreeShape):
        return _Reach(shape.max_depth, fixed=True)
    return _Reach(0 if shape.stop > 0.0 else shape.max_depth, shape.floor or 1.0)


@dataclass(frozen=True)
class Walks:
    """Every place that a round may begin at, ``[W]``, and the nodes below it, ``[M]`` sorted by walk, best first.

    A node is below the root of its round and below each of its accepted ancestors.
    """

    rounds: Rounds
    prompt: Ints
    place: Ints
    """Tokens of the output before it."""
    fresh: Bools
    """Whether a round began there; else it was an accepted node."""
    round: Ints
    length: Ints
    """Accepted nodes behind it, within its round."""
    rank: Ints
    """``[W, D]``: their ranks, then `NO_RANK`."""
    reach: Floats
    """``[W, D]``: the draft's probability of the path to each from the walk's root; NaN without one."""
    end_children: Ints
    """Children that the last of them had: all rejected."""
    room: Ints
    """Levels that the recorded tree went on for at most, below the walk's root."""
    horizon: Floats
    """Nodes that the draft thought likelier than this, from here, were recorded, if they were not too deep."""
    below: Ints
    """``[M]``: the walk."""
    below_depth: Ints
    """``[M]``: from 1, below the walk's root."""
    below_reach: Floats
    """``[M]``"""
    below_step: Ints
    """``[M]``: which step of the path the node is, from 0; -1 off the path."""

    @property
    def depth(self) -> int:
        """D, of the longest path."""
        return int(self.rank.shape[1])

    @cached_property
    def likely(self) -> bool:
        """Whether the draft has probabilities."""
        return bool(len(self.below_reach)) and not bool(np.isnan(self.below_reach).any())

    def order(self, most_depth: int | Ints) -> tuple[Ints, Bools]:
        """How many better nodes each node has, ``[M]``, of those at most so deep (a number, or one a walk
        ``[W]``); and whether it is among those itself."""
        kept = self.below_depth <= (most_depth if isinstance(most_depth, int) else most_depth[self.below])
        walk = self.below[kept]
        count = np.bincount(walk, minlength=len(self.length))
        first = np.cumsum(count) - count
        place = np.full(len(kept), _FAR, dtype=np.int64)
        place[kept] = np.arange(len(walk)) - first[walk]
        return place, kept


def walks_of(rounds: Rounds) -> Walks:
    """The walks of `rounds`: as many as their outputs have tokens, and one at the very end of an output whose
    last round was cut."""
    nodes = rounds.nodes
    count = len(rounds.prompt)
    # Walk numbers: a round's root, then its accepted nodes in order of depth. The last token of an output is
    # the root of nothing.
    steps = rounds.accepted
    size = 1 + steps
    first = np.concatenate([[0], np.cumsum(size)])
    total = int(first[-1])
    of_round = np.repeat(np.arange(count), size)
    within = np.arange(total) - first[of_round]
    deepest = int(steps.max(initial=0))
    start = np.searchsorted(nodes.round, np.arange(count))
    log_p = np.log(np.maximum(nodes.draft_p, 1e-30))
    reach = np.zeros(len(nodes.depth))
    anchor = np.zeros(len(nodes.depth), dtype=np.int64)
    """Depth of the deepest accepted proper ancestor: the node is below the walks 0..anchor of its round."""
    parent_at = np.where(nodes.parent < 0, -1, start[nodes.round] + nodes.parent)
    for level in range(1, int(nodes.depth.max(initial=0)) + 1):
        at = np.flatnonzero(nodes.depth == level)
        above = parent_at[at]
        inner = above >= 0
        reach[at] = log_p[at] + np.where(inner, reach[above], 0.0)
        anchor[at] = np.where(inner, np.where(nodes.accepted[above], level - 1, anchor[above]), 0)
    path = np.full((count, max(deepest, 1)), NO_RANK, dtype=np.int64)
    path_reach = np.zeros((count, max(deepest, 1) + 1))
    on = np.flatnonzero(nodes.accepted)
    path[nodes.round[on], nodes.depth[on] - 1] = nodes.rank[on]
    path_reach[nodes.round[on], nodes.depth[on]] = reach[on]
    # Children of the last accepted node.
    is_end = np.where(parent_at < 0, steps[nodes.round] == 0, False)
    inner = parent_at >= 0
    above = np.where(inner, parent_at, 0)
    if len(above):
        ends_there = nodes.accepted[above] & (nodes.depth[above] == steps[nodes.round])
        is_end |= inner & ends_there
    end_children = np.bincount(nodes.round[is_end], minlength=count)
    rank = np.full((total, max(deepest, 1)), NO_RANK, dtype=np.int64)
    walk_reach = np.full(rank.shape, np.nan)
    for step in range(deepest):
        source = within + step
        has = source < steps[of_round]
        rank[has, step] = path[of_round[has], source[has]]
        walk_reach[has, step] = np.exp(
            path_reach[of_round[has], source[has] + 1] - path_reach[of_round[has], within[has]]
        )
    # Pairs of walk and node below it.
    repeats = anchor + 1
    node = np.repeat(np.arange(len(repeats)), repeats)
    up = np.arange(len(node)) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    below = first[nodes.round[node]] + up
    below_depth = nodes.depth[node] - up
    below_reach = reach[node] - path_reach[nodes.round[node], up]
    below_step = np.where(nodes.accepted[node], below_depth - 1, -1)
    best = np.lexsort((nodes.rank[node], below_depth, -below_reach, below))
    unknown = np.isnan(nodes.draft_p[node])
    place = rounds.place[of_round] + within
    with np.errstate(invalid="ignore"):  # nodes without a probability make their round's NaN, as they should
        left_out = np.where(rounds.fixed, _beside(rounds, reach, parent_at), _least(rounds, reach))
    horizon = left_out[of_round] / np.exp(path_reach[of_round, within])
    return Walks(
        rounds=rounds,
        prompt=rounds.prompt[of_round],
        place=place,
        fresh=within == 0,
        round=of_round,
        length=steps[of_round] - within,
        rank=rank,
        reach=walk_reach,
        end_children=end_children[of_round],
        room=rounds.limit[of_round] - within,
        below=below[best],
        below_depth=below_depth[best],
        below_reach=np.where(unknown, np.nan, np.exp(below_reach))[best],
        horizon=horizon,
        below_step=below_step[best],
    )


def _least(rounds: Rounds, reach: Floats) -> Floats:
    """``[R]``: what a tree of the likeliest nodes left out was less likely than all it has."""
    least = np.full(len(rounds.prompt), np.inf)
    np.minimum.at(least, rounds.nodes.round, np.exp(reach))
    found: Floats = np.minimum(least, rounds.floor)
    return found


def _beside(rounds: Rounds, reach: Floats, parent_at: Ints) -> Floats:
    """``[R]``: what a static tree left out, unless it was deeper, was less likely than this: no child is likelier than
    its recorded siblings, and one without any no likelier than its parent."""
    nodes, inner = rounds.nodes, parent_at >= 0
    at_root = np.zeros(len(rounds.prompt))
    np.minimum.at(at_root, nodes.round[~inner], reach[~inner])
    of_child = reach.copy()
    np.minimum.at(of_child, parent_at[inner], reach[inner])
    grew = nodes.depth < rounds.limit[nodes.round]
    np.maximum.at(at_root, nodes.round[grew], of_child[grew])
    found: Floats = np.exp(at_root)
    return found


def deepest(nodes: RoundNodes, rounds: int) -> Ints:
    """``[R]``: depth of each round's deepest node."""
    found = np.zeros(rounds, dtype=np.int64)
    np.maximum.at(found, nodes.round, nodes.depth)
    return found


def extent_of(walks: Walks) -> Extent:
    """The most nodes of a recorded round, and its deepest one."""
    nodes = walks.rounds.nodes
    sizes = np.bincount(nodes.round, minlength=1)
    return Extent(int(sizes.max(initial=0)), int(nodes.depth.max(initial=0)))
