"""The counts of one round, in one pass over its nodes, which also refuses nodes that form no tree."""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import add
from typing import NamedTuple

from spectui.store.counts.bins import (
    ENTROPY_AT,
    ENTROPY_STEP,
    ENTROPY_TOP,
    FATES,
    PROBABILITY_BINS,
    entropy_bin,
    probability_bin,
)
from spectui.store.counts.metrics import at_risk, overlap
from spectui.store.errors import BadRound
from spectui.store.records import RoundRecord

NO_NODES = (0, 0, 0, 0.0, 0, 0)
"""The sums of no nodes."""


@dataclass(slots=True)
class DepthTally:
    """Counts of a round's nodes at one depth."""

    fates: list[int] = field(default_factory=lambda: [0] * FATES)
    """Nodes by what became of them, numbered as in `store.counts.bins`."""
    overlap_sum: float = 0.0
    overlap_count: int = 0
    unjudged: int = 0
    """Nodes of which it is not known whether they match."""

    def sums(self) -> tuple[int, int, int, float, int, int]:
        """The columns of `sums.NodeSums`."""
        _, lost_match, refused, refused_match, taken, taken_match = self.fates
        accepted = taken + taken_match
        return (
            lost_match + refused_match + taken_match,
            refused + refused_match + accepted,
            accepted,
            self.overlap_sum,
            self.overlap_count,
            self.unjudged,
        )


class RoundTally(NamedTuple):
    """Counts of a whole round."""

    sums: tuple[float | None, ...]
    """Tokens, nodes, the columns of `sums.NodeSums`, and those of `sums.TIMES`."""
    depths: list[tuple[float, ...]]
    """A depth and the columns of `sums.DEPTH_SUMS`, for each depth with nodes."""
    bins: list[int]
    """Places in the counts of `store.counts.bins` that grow by one, one entry for each time."""


def tally(record: RoundRecord) -> RoundTally:
    """Count a round's nodes. Raises `BadRound` when they are no tree or the path is no root path."""
    bins: list[int] = []
    depths: dict[int, DepthTally] = {}
    nodes = record.nodes
    length, cut = record.accepted_length, record.cut
    for i, node in enumerate(nodes):
        parent, depth, draft_p, target_p = node.parent, node.depth, node.draft_p, node.target_p
        draft_entropy, match, accepted = node.draft_entropy, node.match, node.accepted
        if node.idx != i:
            raise _not_a_tree(record, f"node {i} calls itself {node.idx}")
        if parent is None:
            below, on_path = 1, True
        elif 0 <= parent < i:
            above = nodes[parent]
            below, on_path = above.depth + 1, above.accepted
        else:
            raise _not_a_tree(record, f"node {i} has parent {parent}")
        if depth != below:
            raise _not_a_tree(record, f"node {i} has depth {depth}, not {below}")
        if accepted and not on_path:
            raise _not_a_tree(record, f"node {i} is accepted, its parent is not")
        # Also catches NaN, which SQLite would store as NULL.
        if target_p is not None and not target_p >= 0.0:
            raise _not_a_tree(record, f"node {i} has target probability {target_p}")
        if node.target_entropy is not None and node.target_entropy != node.target_entropy:
            raise _not_a_tree(record, f"node {i} has no target entropy")
        at_depth = depths.get(depth)
        if at_depth is None:
            at_depth = depths[depth] = DepthTally()
        if match is None:
            at_depth.unjudged += 1
        fate = 1 if match else 0
        if on_path and at_risk(True, depth, length, cut):
            fate += 4 if accepted else 2
        at_depth.fates[fate] += 1
        if draft_p is not None and target_p is not None:
            share = overlap(target_p, draft_p)
            if share is not None:
                at_depth.overlap_sum += share
                at_depth.overlap_count += 1
                if match is not None:
                    place = int(draft_p * PROBABILITY_BINS) if 0 <= draft_p < 1 else probability_bin(draft_p)
                    bins.append(FATES * place + fate)
        if draft_entropy is not None and match is not None:
            if 0 <= draft_entropy < ENTROPY_TOP:  # as `entropy_bin` has it, without the call
                bins.append(ENTROPY_AT + 2 * int(draft_entropy / ENTROPY_STEP) + match)
            elif draft_entropy == draft_entropy:
                bins.append(ENTROPY_AT + 2 * entropy_bin(draft_entropy) + match)
    total: tuple[float, ...] = NO_NODES
    rows: list[tuple[float, ...]] = []
    for depth, at_depth in depths.items():
        sums = at_depth.sums()
        if sums[2] > 1:
            raise _not_a_tree(record, "two nodes of one depth are accepted")
        total = tuple(map(add, total, sums))
        rows.append((depth, sum(at_depth.fates), *sums, sums[1] > 0, sums[2] > 0))
    if total[2] != length:
        raise _not_a_tree(record, f"{total[2]} nodes are accepted, not {length}")
    tokens = length + (record.bonus_token_id is not None)
    times = (record.draft_ms, record.verify_ms, record.other_ms)
    return RoundTally((tokens, len(nodes), *total, *times), rows, bins)


def _not_a_tree(record: RoundRecord, why: str) -> BadRound:
    return BadRound(f"round {record.number} cannot be recorded: {why}")
