"""Acceptance rates of recorded nodes: by the draft's probability, and by depth and rank."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spectui.decoding.trees.advise.positions import NO_RANK, Positions
from spectui.decoding.trees.isotonic import rising
from spectui.decoding.trees.limits import MAX_BRANCHING, MAX_DEPTH
from spectui.store.reading.columns import Bools, Floats

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
        """The draft's probability from which on nodes are accepted so often."""
        return float(np.interp(chance, self.accepted, self.probability, left=0.0, right=1.0))


def calibration_of(positions: Positions) -> Calibration:
    """The curve of recorded rounds, whose nodes are below the round's root; the diagonal where there are none."""
    known = positions.is_root[positions.node] & np.isfinite(positions.node_probability)
    probability, hit = positions.node_probability[known], positions.node_step[known] >= 0
    is_root, length = positions.is_root, positions.length
    expanded = is_root & ((length > 0) | (positions.end_children > 0))
    onward = float(length[is_root].sum() / max(length[is_root].sum() + expanded.sum(), 1))
    if not len(probability):
        return Calibration(np.array([0.0, 1.0]), np.array([0.0, 1.0]), onward)
    order = np.argsort(probability, kind="stable")
    bins = [part for part in np.array_split(order, min(BINS, len(order))) if len(part)]
    accepted = rising([float(hit[part].mean()) for part in bins], [len(part) for part in bins])
    return Calibration(
        np.array([probability[part].mean() for part in bins]),
        # A curve with steps has no inverse: the least slope makes it one.
        accepted + 1e-9 * np.arange(len(bins)),
        onward,
    )


def rank_shares(positions: Positions, chosen: Bools | None = None) -> Floats:
    """``[depth, rank]``: of recorded rounds whose path reached depth d and whose tree went on there, the share
    that goes on with the rank-r child. `chosen` ``[P]`` takes some prompts; depths seldom reached are left out."""
    rounds = positions.rounds
    weight = np.ones(len(rounds.length)) if chosen is None else chosen.astype(np.float64)
    weight = weight[positions.prompt] * positions.is_root
    ranks = min(int(rounds.nodes.rank.max(initial=0)) + 1, MAX_BRANCHING)
    rows = []
    for step in range(min(positions.depth + 1, MAX_DEPTH)):
        on = positions.length > step
        ended = (positions.length == step) & (positions.end_children > 0) & (positions.tokens_left > step)
        at_risk = weight[on].sum() + weight[ended].sum()
        if at_risk < FEWEST:
            break
        hits = np.zeros(ranks)
        if step < positions.depth and on.any():
            rank = positions.rank[on, step]
            known = rank != NO_RANK
            hits += np.bincount(rank[known], weights=weight[on][known], minlength=ranks)[:ranks]
        rows.append(hits / at_risk)
    return np.array(rows) if rows else np.zeros((1, ranks))
