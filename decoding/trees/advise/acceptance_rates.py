"""How often recorded nodes were accepted: by the draft's probability, and by depth and rank."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spectui.decoding.trees.advise.positions import NO_RANK, Walks
from spectui.decoding.trees.isotonic import rising
from spectui.decoding.trees.limits import MAX_BRANCHING, MAX_DEPTH
from spectui.store.reading.columns import Floats, Ints

BINS = 12
FEWEST = 5
"""Rounds that must have reached a depth for its shares to be believed."""


@dataclass(frozen=True)
class Calibration:
    """A rising curve from the draft's probability of a node's path to its chance of being accepted."""

    probability: Floats
    """``[B]``, ascending: mean of each bin, bins of equally many nodes."""
    accepted: Floats
    """``[B]``, never falling."""
    onward: float
    """The chance that an accepted path goes on below a node that was expanded."""

    def probability_of(self, chance: float) -> float:
        """The draft's probability from which on nodes are accepted that often."""
        return float(np.interp(chance, self.accepted, self.probability, left=0.0, right=1.0))


def calibration_of(walks: Walks) -> Calibration:
    """Of the nodes of recorded rounds, each below its round's root; a flat curve where there is nothing."""
    mine = walks.fresh[walks.below] & np.isfinite(walks.below_reach)
    reach, hit = walks.below_reach[mine], walks.below_step[mine] >= 0
    fresh = walks.fresh
    inner = fresh & ((walks.length > 0) | (walks.end_children > 0))
    onward = float(walks.length[fresh].sum() / max(walks.length[fresh].sum() + inner.sum(), 1))
    if not len(reach):
        return Calibration(np.array([0.0, 1.0]), np.array([0.0, 1.0]), onward)
    order = np.argsort(reach, kind="stable")
    parts = [part for part in np.array_split(order, min(BINS, len(order))) if len(part)]
    probability = np.array([reach[part].mean() for part in parts])
    accepted = rising([float(hit[part].mean()) for part in parts], [len(part) for part in parts])
    # A curve with steps has no inverse: the least slope makes it one.
    return Calibration(probability, accepted + 1e-9 * np.arange(len(parts)), onward)


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
