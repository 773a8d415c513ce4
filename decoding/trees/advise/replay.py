"""What another tree would have brought on the text of a session: rounds replayed with parts of their trees.

Under greedy decoding the text does not depend on the tree, and a tree that is part of the recorded one
accepts the recorded path as far as it holds it. But then its next round begins where no recorded round began,
so averaging over recorded rounds asks about the wrong places: they all follow a word that the draft
did not know. Here the text is walked again. N(s), the rounds that it takes from place s to the end, is

    N(s) = 1 + sum over l of P(l nodes are accepted at s) * N(s + l + 1)

solved from the end. Where a recorded round began, P is 0 or 1: that is what happened. Elsewhere the place
was an accepted node, and what stood below it in that tree says as much as it holds; where its path ran out
at the tree's edge, P goes on with the hazards of recorded rounds at the same depth below their roots.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from spectui.decoding.trees.advise.positions import NO_RANK, Walks
from spectui.decoding.trees.shape import DynamicShape, Shape, TreeShape
from spectui.store.reading.columns import Bools, Floats, Ints

PRIOR_ROUNDS = 20.0
"""Rounds of all tasks together that each task's own hazards are mixed with."""
BEYOND = 1.5
"""Ranks nobody drafted are accepted like ``(rank + 1) ** -BEYOND``: the measured profiles fall so or faster."""
EXTRAPOLATED = 0.02
"""Share of recorded rounds that a tree may leave (its nodes were not drafted) and still be a part of them."""


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
    """Expected time of them."""
    low_rounds: Floats
    """If whatever was not recorded were accepted."""
    high_rounds: Floats
    """If nothing of it were."""
    outside: float
    """Share of recorded rounds that leave the recorded tree at its edge: what is said of them is extrapolated."""
    nodes: float
    """Drafted a round."""
    levels: float = 0.0
    """Grown a round."""

    @property
    def extrapolated(self) -> bool:
        """Whether the tree asks for more than was recorded."""
        return self.outside > EXTRAPOLATED


@dataclass(frozen=True)
class _Reached:
    """How far a tree goes along each walk ``[W]``."""

    accepted: Ints
    open: Bools
    """Its path ends at the recorded tree's edge, or at children of higher rank than were recorded."""
    nodes: Ints
    """Nodes it has there; an estimate where they were not all recorded."""
    levels: Ints
    more: Ints
    """Children it would have at the end of the path; 0 where that is not known (a dynamic tree)."""


def replay(walks: Walks, shape: Shape, price: Price, *, groups: Ints | None = None) -> Replay:
    """Replay `shape` on everything that was recorded. Prompts of a group (``[P]``, from 0) share hazards."""
    if groups is None:
        groups = np.zeros(len(walks.rounds.length), dtype=np.int64)
    left = walks.rounds.length[walks.prompt] - walks.place
    alive = left > 0
    reached = _static(walks, shape) if isinstance(shape, TreeShape) else _dynamic(walks, shape)
    _as_it_was(walks, shape, reached)
    # What the end of the output cut off would not have been used.
    is_open = reached.open & (reached.accepted < left)
    depth = shape.max_depth
    hazards = _Hazards(walks, reached, is_open, alive, groups, depth)
    shares = hazards.shares(reached, is_open)
    low, high = shares.copy(), shares.copy()
    rows = np.flatnonzero(is_open)
    for bound, at in ((low, np.full(len(rows), depth)), (high, reached.accepted[rows])):
        bound[rows] = 0.0
        bound[rows, np.minimum(at, depth)] = 1.0
    fresh = alive & walks.fresh
    outside = float(is_open[fresh].mean()) if fresh.any() else 1.0
    each = _priced(reached.nodes, reached.levels, price)
    # Below an accepted node a tree was recorded in part: it would have been as large as others.
    of = groups[walks.prompt]
    total = np.bincount(of[fresh], weights=each[fresh], minlength=int(groups.max(initial=0)) + 1)
    mean = total / np.maximum(np.bincount(of[fresh], minlength=len(total)), 1)
    each = np.where(walks.fresh, each, mean[of])
    return Replay(
        tree=shape.name,
        tokens=walks.rounds.length.astype(np.float64),
        rounds=_to_the_end(walks, alive, shares, np.ones(len(alive))),
        ms=_to_the_end(walks, alive, shares, each),
        low_rounds=_to_the_end(walks, alive, low, np.ones(len(alive))),
        high_rounds=_to_the_end(walks, alive, high, np.ones(len(alive))),
        outside=outside,
        nodes=float(reached.nodes[fresh].mean()) if fresh.any() else float(shape.size),
        levels=float(reached.levels[fresh].mean()) if fresh.any() else float(shape.max_depth),
    )


def _priced(nodes: Ints, levels: Ints, price: Price) -> Floats:
    """``[W]``: each distinct size is priced once."""
    width = int(levels.max(initial=0)) + 1
    sizes, at = np.unique(nodes * width + levels, return_inverse=True)
    prices = np.array([price(int(size) // width, int(size) % width) for size in sizes])
    found: Floats = prices[at]
    return found


def _as_it_was(walks: Walks, shape: Shape, reached: _Reached) -> None:
    """Rounds that had this very tree went as they went."""
    rounds = walks.rounds
    if shape.name not in rounds.trees:
        return
    same = walks.fresh & (rounds.tree == rounds.trees.index(shape.name))[walks.round]
    reached.accepted[same] = walks.length[same]
    reached.open[same] = False
    if not isinstance(shape, TreeShape):
        sizes = np.bincount(rounds.nodes.round, minlength=len(rounds.prompt))
        reached.nodes[same] = sizes[walks.round[same]]


def _static(walks: Walks, shape: TreeShape) -> _Reached:
    """A static tree is a set of rank paths: its states are walked along all paths at once."""
    width = np.zeros(shape.size + 1, dtype=np.int64)
    table = np.full((shape.size + 1, max(shape.width, 1)), -1, dtype=np.int64)
    for node, (parent, rank) in enumerate(zip(shape.parent.tolist(), shape.rank.tolist(), strict=True)):
        table[parent + 1, rank] = node + 1
        width[parent + 1] += 1
    at = np.zeros(len(walks.length), dtype=np.int64)
    accepted = np.zeros(len(walks.length), dtype=np.int64)
    going = np.ones(len(walks.length), dtype=np.bool_)
    for step in range(walks.depth):
        rank = walks.rank[:, step]
        going &= (rank != NO_RANK) & (rank < width[at])
        at[going] = table[at[going], rank[going]]
        accepted += going
    ended = accepted == walks.length
    return _Reached(
        accepted,
        ended & (width[at] > walks.end_children),
        np.full(len(at), shape.size),
        np.full(len(at), shape.max_depth),
        width[at],
    )


def _dynamic(walks: Walks, shape: DynamicShape) -> _Reached:
    """Of a dynamic tree: the best nodes of those recorded, by the rules of `decoding.drafters.expansion`."""
    walk, reach, depth = walks.below, walks.below_reach, walks.below_depth
    count = len(walks.length)
    levels = np.ones(count, dtype=np.int64)
    if shape.stop > 0.0:
        going = np.ones(count, dtype=np.bool_)
        for level in range(1, shape.max_depth):
            place, _ = walks.order(level)
            grows = (depth == level) & (place < shape.size)
            # Best first within a walk: the frontier is the first few.
            at = np.flatnonzero(grows)
            before = np.searchsorted(walk[at], walk[at])
            at = at[np.arange(len(at)) - before < shape.frontier]
            going &= np.bincount(walk[at], weights=reach[at], minlength=count) >= shape.stop
            levels += going
    else:
        levels[:] = shape.max_depth
    place, allowed = walks.order(levels)
    kept = allowed & (place < shape.size) & ((place < shape.least) | (reach >= shape.floor))
    accepted = np.bincount(walk[kept & (walks.below_step >= 0)], minlength=count)
    ended = (accepted == walks.length) & (accepted < levels)
    has = np.bincount(walk[kept], minlength=count)
    # It would have nodes, or levels, that were not recorded: then nothing is known of what comes.
    unseen = (has < shape.size) & ((has < shape.least) | (shape.floor < walks.horizon))
    more = unseen | (walks.room <= accepted)
    nodes = np.where(unseen, shape.size, has)
    deeper = (levels > walks.room) & ~unseen
    if deeper.any():
        # The levels below the last recorded one have between none and as many nodes as that.
        last = np.bincount(walk[kept & (depth == walks.room[walk])], minlength=count)
        nodes = np.where(deeper, np.minimum(has + last // 2, shape.size), nodes)
    return _Reached(
        accepted,
        ended & more,
        nodes.astype(np.int64),
        levels,
        np.zeros(count, dtype=np.int64),
    )


class _Hazards:
    """How often a path goes on, by group, depth and rank, under one tree: from rounds where that was recorded."""

    def __init__(
        self, walks: Walks, reached: _Reached, is_open: Bools, alive: Bools, groups: Ints, depth: int
    ) -> None:
        self._depth = depth
        self._group = groups[walks.prompt]
        self._end_children = walks.end_children
        fresh = walks.fresh & alive
        many = int(groups.max(initial=0)) + 1
        ranks = int(walks.rank.max(initial=0)) + 2
        # [group, depth, rank]: rounds that went on with that rank; [group, depth]: that got so far and are known.
        self.hits = np.zeros((many, depth + 1, ranks))
        self.risk = np.zeros((many, depth + 1))
        # [group, depth, rank]: rounds in which a child of that rank was drafted and none of lower rank accepted.
        self.tried = np.zeros((many, depth + 1, ranks))
        room = walks.rounds.length[walks.prompt] - walks.place
        for step in range(depth):
            here = fresh & (reached.accepted >= step) & (room > step)
            on = here & (reached.accepted > step)
            if step < walks.depth and on.any():
                rank = walks.rank[on, step]
                np.add.at(self.hits, (self._group[on], np.full(len(rank), step), rank), 1.0)
                for r in range(int(rank.max()) + 1):
                    np.add.at(self.tried, (self._group[on][rank >= r], step, r), 1.0)
            stopped = here & (reached.accepted == step)
            known = stopped & ~is_open
            np.add.at(self.risk, (self._group[known | on], step), 1.0)
            # Children that were rejected here: all recorded ones at the path's end.
            end = stopped & (walks.length == step)
            children = np.minimum(walks.end_children[end], ranks)
            for r in range(int(children.max(initial=0))):
                np.add.at(self.tried, (self._group[end][children > r], step, r), 1.0)

    def shares(self, reached: _Reached, is_open: Bools) -> Floats:
        """``[W, D + 1]``: the chance that each length is what the tree accepts at a walk."""
        depth = self._depth
        out = np.zeros((len(is_open), depth + 1))
        at = np.minimum(reached.accepted, depth)
        out[np.arange(len(at)), at] = 1.0
        rows = np.flatnonzero(is_open)
        if not len(rows):
            return out
        out[rows] = 0.0
        group = self._group[rows]
        start = np.minimum(at[rows], depth)
        on = self._first(group, start, self._end_children[rows], reached.more[rows])
        whole = self._whole()
        alive = np.ones(len(rows))
        for extra in range(depth + 1):
            here = np.minimum(start + extra, depth)
            goes_on = on if extra == 0 else whole[group, here]
            goes_on = np.where(start + extra >= depth, 0.0, goes_on)
            np.add.at(out, (rows, here), alive * (1.0 - goes_on))
            alive = alive * goes_on
        return out

    def _whole(self) -> Floats:
        """``[group, depth]``: the chance to go on from a depth; unknown depths are as the deepest known."""
        return _carried(_mixed(self.hits.sum(2), self.risk))

    def _first(self, group: Ints, depth: Ints, children: Ints, more: Ints) -> Floats:
        """The chance to go on from a path's recorded end, its `children` recorded children being wrong."""
        ranks = self.hits.shape[2]
        taken = np.minimum(children, ranks)
        below = np.concatenate([np.zeros((*self.risk.shape, 1)), self.hits.cumsum(2)], axis=2)
        later = self.hits.sum(2)[..., None] - below
        left = self.risk[..., None] - below
        dynamic = np.stack([_carried(_mixed(later[..., r], left[..., r])) for r in range(ranks + 1)], axis=2)
        by_rank = self._by_rank(int(more.max(initial=0)))
        gone = np.concatenate(
            [np.zeros((*by_rank.shape[:2], 1)), np.log1p(-np.minimum(by_rank, 0.999)).cumsum(2)], axis=2
        )
        low = np.minimum(children, gone.shape[2] - 1)
        static = 1.0 - np.exp(gone[group, depth, np.maximum(more, low)] - gone[group, depth, low])
        found: Floats = np.where(more > 0, static, dynamic[group, depth, taken])
        return found

    def _by_rank(self, ranks: int) -> Floats:
        """``[group, depth, rank]``: the chance of a rank once those below it are wrong."""
        known = self.hits.shape[2]
        found = np.zeros((*self.risk.shape, max(ranks, known)))
        for r in range(known):
            found[..., r] = _carried(_mixed(self.hits[..., r], self.tried[..., r]))
            unknown = self.tried[..., r].sum() == 0
            if r and unknown:
                found[..., r] = found[..., r - 1] * (r / (r + 1)) ** BEYOND
        for r in range(known, ranks):
            found[..., r] = found[..., r - 1] * (r / (r + 1)) ** BEYOND
        return found


def _mixed(hits: Floats, risk: Floats) -> Floats:
    """Shares ``[group, depth]``, mixed with those of all groups; NaN where nothing is known."""
    with np.errstate(invalid="ignore", divide="ignore"):
        pooled = hits.sum(0) / risk.sum(0)
        found = (hits + PRIOR_ROUNDS * np.nan_to_num(pooled)) / (risk + PRIOR_ROUNDS)
    found[:, risk.sum(0) <= 0] = np.nan
    clipped: Floats = np.clip(found, 0.0, 1.0)
    return clipped


def _carried(shares: Floats) -> Floats:
    """Unknown depths are as the one above; 0 where none is known."""
    found = shares.copy()
    for depth in range(found.shape[1]):
        if np.isnan(found[0, depth]):
            found[:, depth] = found[:, depth - 1] if depth else 0.0
    return found


def _to_the_end(walks: Walks, alive: Bools, shares: Floats, reward: Floats) -> Floats:
    """``[P]``: what rounds bring together from the beginning to the end: see N(s) above, with `reward`
    ``[W]`` in the place of its 1."""
    length = walks.rounds.length
    # Behind the last place that was recorded nothing is brought, however long the output is said to be.
    longest = min(int(length.max(initial=0)), int(walks.place[alive].max(initial=-1)) + 1)
    prompts, width = len(length), shares.shape[1]
    table = np.zeros((prompts, longest, width))
    table[walks.prompt[alive], walks.place[alive]] = shares[alive]
    each = np.zeros((prompts, longest))
    each[walks.prompt[alive], walks.place[alive]] = reward[alive]
    left = np.zeros((prompts, longest + width + 1))
    for place in range(longest - 1, -1, -1):
        ahead = left[:, place + 1 : place + 1 + width]
        left[:, place] = (place < length) * (each[:, place] + (table[:, place] * ahead).sum(1))
    return left[:, 0]
