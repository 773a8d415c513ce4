"""What the draft's probabilities are worth: the chance of acceptance behind each, as it was recorded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spectui.decoding.trees.advise.positions import Walks
from spectui.store.reading.columns import Floats

BINS = 12


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
    accepted = _rising(
        np.array([hit[part].mean() for part in parts]), np.array([len(part) for part in parts])
    )
    # A curve with steps has no inverse: the least slope makes it one.
    return Calibration(probability, accepted + 1e-9 * np.arange(len(parts)), onward)


def _rising(values: Floats, weights: Floats) -> Floats:
    """The closest curve that never falls (pool adjacent violators)."""
    blocks: list[list[float]] = []
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        blocks.append([value, float(weight), 1.0])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            last, before = blocks.pop(), blocks.pop()
            total = before[1] + last[1]
            blocks.append([(before[0] * before[1] + last[0] * last[1]) / total, total, before[2] + last[2]])
    return np.concatenate([np.full(int(count), value) for value, _, count in blocks])
