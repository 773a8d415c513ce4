"""Replay: the rounds that another tree would have taken over the text of a session.

Under greedy decoding the text does not depend on the tree, and a tree that is part of the recorded one
accepts the recorded path as far as it holds it. But then its next round begins where no recorded round began,
so averaging over recorded rounds looks at the wrong positions: they all follow a word that the draft
did not know. Here the text is walked again. N(s), the rounds that it takes from position s to the end, is

    N(s) = 1 + sum over l of P(l nodes are accepted at s) * N(s + l + 1)

solved from the end. Where a recorded round began, P is 0 or 1: that is what happened. Elsewhere the position
was an accepted node, and P comes from what stood below it in that tree; where its path ran out
at the tree's edge, P goes on with the hazards of recorded rounds at the same depth below their roots.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from spectui.decoding.trees.advise.positions import NO_RANK, Positions
from spectui.decoding.trees.shape import DynamicShape, Shape, TreeShape
from spectui.store.reading.columns import Bools, Floats, Ints

PRIOR_ROUNDS = 20.0
"""Rounds of all tasks together that each task's own hazards are mixed with."""
BEYOND = 1.5
"""Ranks never drafted are accepted like ``(rank + 1) ** -BEYOND``: the measured profiles fall so or faster."""
EXTRAPOLATED = 0.02
"""A tree whose nodes were not drafted in a larger share of the recorded rounds is no part of them."""


Price = Callable[[int, int], float]
"""``price(nodes, levels)``: milliseconds of a round that drafts and verifies so much."""


@dataclass(frozen=True)
class Replay:
    """One tree replayed, by prompt ``[P]``."""

    tree: str
    tokens: Floats
    rounds: Floats
    """Expected rounds of the prompt."""
    ms: Floats
    """Expected milliseconds."""
    low_rounds: Floats
    """Rounds if whatever was not recorded were accepted."""
    high_rounds: Floats
    """Rounds if nothing of it were."""
    outside: float
    """Share of recorded rounds that leave the recorded tree at its edge: their figures are extrapolated."""
    nodes: float
    """Mean of a round."""
    levels: float = 0.0
    """Mean of a round."""
    deepest: float = math.inf
    """Levels of the deepest round, which brings one token more at most."""

    @property
    def extrapolated(self) -> bool:
        """True where the tree needs more than was recorded."""
        return self.outside > EXTRAPOLATED


@dataclass(frozen=True)
class _Outcome:
    """The part of the accepted path that a tree holds from each position ``[K]``."""

    accepted: Ints
    open: Bools
    """True where the path ends at the recorded tree's edge, or at children of higher rank than were recorded."""
    nodes: Ints
    """Nodes that the tree has there; an estimate where they were not all recorded."""
    levels: Ints
    end_children: Ints
    """Children that it would have at the end of the path; 0 where that is not known (a dynamic tree)."""


def replay(positions: Positions, shape: Shape, price: Price, *, groups: Ints | None = None) -> Replay:
    """Replay `shape` on everything that was recorded. Prompts of a group (``[P]``, from 0) share hazards."""
    if groups is None:
        groups = np.zeros(len(positions.rounds.length), dtype=np.int64)
    alive = positions.tokens_left > 0
    outcome = _static(positions, shape) if isinstance(shape, TreeShape) else _dynamic(positions, shape)
    _copy_recorded(positions, shape, outcome)
    # What the end of the output cut off would not have been used.
    is_open = outcome.open & (outcome.accepted < positions.tokens_left)
    depth = shape.max_depth
    hazards = _Hazards(positions, outcome, is_open, alive, groups, depth)
    shares = hazards.shares(outcome, is_open)
    low, high = shares.copy(), shares.copy()
    rows = np.flatnonzero(is_open)
    for bound, at in ((low, np.full(len(rows), depth)), (high, outcome.accepted[rows])):
        bound[rows] = 0.0
        bound[rows, np.minimum(at, depth)] = 1.0
    began = alive & positions.is_root
    outside = float(is_open[began].mean()) if began.any() else 1.0
    ms = _priced(outcome.nodes, outcome.levels, price)
    # Below an accepted node a tree was recorded in part: it would have been as large as others.
    group = groups[positions.prompt]
    total = np.bincount(group[began], weights=ms[began], minlength=int(groups.max(initial=0)) + 1)
    mean = total / np.maximum(np.bincount(group[began], minlength=len(total)), 1)
    ms = np.where(positions.is_root, ms, mean[group])
    ones = np.ones(len(alive))
    return Replay(
        tree=shape.name,
        tokens=positions.rounds.length.astype(np.float64),
        rounds=_sum_to_end(positions, alive, shares, ones),
        ms=_sum_to_end(positions, alive, shares, ms),
        low_rounds=_sum_to_end(positions, alive, low, ones),
        high_rounds=_sum_to_end(positions, alive, high, ones),
        outside=outside,
        nodes=float(outcome.nodes[began].mean()) if began.any() else float(shape.size),
        levels=float(outcome.levels[began].mean()) if began.any() else float(shape.max_depth),
        deepest=float(shape.max_depth),
    )


def _priced(nodes: Ints, levels: Ints, price: Price) -> Floats:
    """``[K]`` milliseconds; each distinct size is priced once."""
    width = int(levels.max(initial=0)) + 1
    sizes, index = np.unique(nodes * width + levels, return_inverse=True)
    ms: Floats = np.array([price(int(size) // width, int(size) % width) for size in sizes])[index]
    return ms


def _copy_recorded(positions: Positions, shape: Shape, outcome: _Outcome) -> None:
    """Set what is known of rounds that had this very tree: it went as it was recorded."""
    rounds = positions.rounds
    if shape.name not in rounds.trees:
        return
    same = positions.is_root & (rounds.tree == rounds.trees.index(shape.name))[positions.round]
    outcome.accepted[same] = positions.length[same]
    outcome.open[same] = False
    if not isinstance(shape, TreeShape):
        sizes = np.bincount(rounds.nodes.round, minlength=len(rounds.prompt))
        outcome.nodes[same] = sizes[positions.round[same]]


def _static(positions: Positions, shape: TreeShape) -> _Outcome:
    """The outcome of a static tree, a set of rank paths: all positions go along it at once."""
    count = len(positions.length)
    width = np.zeros(shape.size + 1, dtype=np.int64)
    child = np.full((shape.size + 1, max(shape.width, 1)), -1, dtype=np.int64)
    for node, (parent, rank) in enumerate(zip(shape.parent.tolist(), shape.rank.tolist(), strict=True)):
        child[parent + 1, rank] = node + 1
        width[parent + 1] += 1
    at = np.zeros(count, dtype=np.int64)
    accepted = np.zeros(count, dtype=np.int64)
    going = np.ones(count, dtype=np.bool_)
    for step in range(positions.depth):
        step_rank = positions.rank[:, step]
        going &= (step_rank != NO_RANK) & (step_rank < width[at])
        at[going] = child[at[going], step_rank[going]]
        accepted += going
    ended = accepted == positions.length
    return _Outcome(
        accepted,
        ended & (width[at] > positions.end_children),
        np.full(count, shape.size),
        np.full(count, shape.max_depth),
        width[at],
    )


def _dynamic(positions: Positions, shape: DynamicShape) -> _Outcome:
    """The outcome of a dynamic tree: the best recorded nodes, by the rules of `decoding.drafters.expansion`."""
    position, probability, depth = positions.node, positions.node_probability, positions.node_depth
    count = len(positions.length)
    levels = np.ones(count, dtype=np.int64)
    if shape.stop > 0.0:
        going = np.ones(count, dtype=np.bool_)
        for level in range(1, shape.max_depth):
            better, _ = positions.order(level)
            # Best first within a position: the frontier is the first few.
            at = np.flatnonzero((depth == level) & (better < shape.size))
            before = np.searchsorted(position[at], position[at])
            at = at[np.arange(len(at)) - before < shape.frontier]
            going &= np.bincount(position[at], weights=probability[at], minlength=count) >= shape.stop
            levels += going
    else:
        levels[:] = shape.max_depth
    better, allowed = positions.order(levels)
    kept = allowed & (better < shape.size) & ((better < shape.least) | (probability >= shape.floor))
    accepted = np.bincount(position[kept & (positions.node_step >= 0)], minlength=count)
    ended = (accepted == positions.length) & (accepted < levels)
    recorded = np.bincount(position[kept], minlength=count)
    # It would have nodes, or levels, that were not recorded: then nothing is known of what comes.
    unseen = (recorded < shape.size) & ((recorded < shape.least) | (shape.floor < positions.floor))
    nodes = np.where(unseen, shape.size, recorded)
    deeper = (levels > positions.levels_left) & ~unseen
    if deeper.any():
        # The levels below the last recorded one have between none and as many nodes as that.
        last = np.bincount(position[kept & (depth == positions.levels_left[position])], minlength=count)
        nodes = np.where(deeper, np.minimum(recorded + last // 2, shape.size), nodes)
    return _Outcome(
        accepted,
        ended & (unseen | (positions.levels_left <= accepted)),
        nodes.astype(np.int64),
        levels,
        np.zeros(count, dtype=np.int64),
    )


class _Hazards:
    """The chance that a path goes on, by group, depth and rank, under one tree: from rounds that show it."""

    def __init__(
        self, positions: Positions, outcome: _Outcome, is_open: Bools, alive: Bools, groups: Ints, depth: int
    ) -> None:
        self._depth = depth
        self._group = groups[positions.prompt]
        self._end_children = positions.end_children
        began, tokens_left = positions.is_root & alive, positions.tokens_left
        count = int(groups.max(initial=0)) + 1
        ranks = int(positions.rank.max(initial=0)) + 2
        # [group, depth, rank]: rounds that went on with that rank; [group, depth]: that got so far and are known.
        self.hits = np.zeros((count, depth + 1, ranks))
        self.risk = np.zeros((count, depth + 1))
        # [group, depth, rank]: rounds in which a child of that rank was drafted and none of lower rank accepted.
        self.tried = np.zeros((count, depth + 1, ranks))
        for step in range(depth):
            reached = began & (outcome.accepted >= step) & (tokens_left > step)
            on = reached & (outcome.accepted > step)
            if step < positions.depth and on.any():
                rank = positions.rank[on, step]
                np.add.at(self.hits, (self._group[on], np.full(len(rank), step), rank), 1.0)
                for r in range(int(rank.max()) + 1):
                    np.add.at(self.tried, (self._group[on][rank >= r], step, r), 1.0)
            stopped = reached & (outcome.accepted == step)
            known = stopped & ~is_open
            np.add.at(self.risk, (self._group[known | on], step), 1.0)
            # Children that were rejected here: all recorded ones at the path's end.
            end = stopped & (positions.length == step)
            children = np.minimum(positions.end_children[end], ranks)
            for r in range(int(children.max(initial=0))):
                np.add.at(self.tried, (self._group[end][children > r], step, r), 1.0)

    def shares(self, outcome: _Outcome, is_open: Bools) -> Floats:
        """``[K, D + 1]``: the chance of each accepted length at each position."""
        depth = self._depth
        out = np.zeros((len(is_open), depth + 1))
        at = np.minimum(outcome.accepted, depth)
        out[np.arange(len(at)), at] = 1.0
        rows = np.flatnonzero(is_open)
        if not len(rows):
            return out
        out[rows] = 0.0
        group = self._group[rows]
        start = np.minimum(at[rows], depth)
        first = self._from_end(group, start, self._end_children[rows], outcome.end_children[rows])
        onward = self._onward()
        alive = np.ones(len(rows))
        for extra in range(depth + 1):
            length = np.minimum(start + extra, depth)
            goes_on = first if extra == 0 else onward[group, length]
            goes_on = np.where(start + extra >= depth, 0.0, goes_on)
            np.add.at(out, (rows, length), alive * (1.0 - goes_on))
            alive = alive * goes_on
        return out

    def _onward(self) -> Floats:
        """``[group, depth]``: the chance to go on from a depth; unknown depths are as the deepest known."""
        return _carried(_mixed(self.hits.sum(2), self.risk))

    def _from_end(self, group: Ints, depth: Ints, recorded: Ints, children: Ints) -> Floats:
        """The chance to go on from a path's recorded end, its `recorded` children being wrong; the tree would have
        `children` there, or 0 where that is not known."""
        ranks = self.hits.shape[2]
        below = np.concatenate([np.zeros((*self.risk.shape, 1)), self.hits.cumsum(2)], axis=2)
        later = self.hits.sum(2)[..., None] - below
        at_risk = self.risk[..., None] - below
        dynamic = np.stack(
            [_carried(_mixed(later[..., r], at_risk[..., r])) for r in range(ranks + 1)], axis=2
        )
        by_rank = self._by_rank(int(children.max(initial=0)))
        gone = np.concatenate(
            [np.zeros((*by_rank.shape[:2], 1)), np.log1p(-np.minimum(by_rank, 0.999)).cumsum(2)], axis=2
        )
        low = np.minimum(recorded, gone.shape[2] - 1)
        static = 1.0 - np.exp(gone[group, depth, np.maximum(children, low)] - gone[group, depth, low])
        chance: Floats = np.where(children > 0, static, dynamic[group, depth, np.minimum(recorded, ranks)])
        return chance

    def _by_rank(self, ranks: int) -> Floats:
        """``[group, depth, rank]``: the chance of a rank once those below it are wrong."""
        known = self.hits.shape[2]
        chance = np.zeros((*self.risk.shape, max(ranks, known)))
        for r in range(known):
            chance[..., r] = _carried(_mixed(self.hits[..., r], self.tried[..., r]))
            if r and self.tried[..., r].sum() == 0:
                chance[..., r] = chance[..., r - 1] * (r / (r + 1)) ** BEYOND
        for r in range(known, ranks):
            chance[..., r] = chance[..., r - 1] * (r / (r + 1)) ** BEYOND
        return chance


def _mixed(hits: Floats, risk: Floats) -> Floats:
    """Shares ``[group, depth]``, mixed with those of all groups; NaN where nothing is known."""
    with np.errstate(invalid="ignore", divide="ignore"):
        pooled = hits.sum(0) / risk.sum(0)
        shares = (hits + PRIOR_ROUNDS * np.nan_to_num(pooled)) / (risk + PRIOR_ROUNDS)
    shares[:, risk.sum(0) <= 0] = np.nan
    clipped: Floats = np.clip(shares, 0.0, 1.0)
    return clipped


def _carried(shares: Floats) -> Floats:
    """`shares` with those of unknown depths as at the depth above; 0 where none is known."""
    filled = shares.copy()
    for depth in range(filled.shape[1]):
        if np.isnan(filled[0, depth]):
            filled[:, depth] = filled[:, depth - 1] if depth else 0.0
    return filled


def _sum_to_end(positions: Positions, alive: Bools, shares: Floats, reward: Floats) -> Floats:
    """``[P]``: the sum of `reward` ``[K]`` over rounds from the beginning to the end: N(s) above, where it is 1."""
    length = positions.rounds.length
    # Behind the last position that was recorded nothing is added, however long the output is said to be.
    longest = min(int(length.max(initial=0)), int(positions.offset[alive].max(initial=-1)) + 1)
    prompts, width = len(length), shares.shape[1]
    table = np.zeros((prompts, longest, width))
    table[positions.prompt[alive], positions.offset[alive]] = shares[alive]
    each = np.zeros((prompts, longest))
    each[positions.prompt[alive], positions.offset[alive]] = reward[alive]
    sums = np.zeros((prompts, longest + width + 1))
    for offset in range(longest - 1, -1, -1):
        ahead = sums[:, offset + 1 : offset + 1 + width]
        sums[:, offset] = (offset < length) * (each[:, offset] + (table[:, offset] * ahead).sum(1))
    return sums[:, 0]
