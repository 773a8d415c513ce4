"""What a round adds to the counts: one pass over its nodes, which also refuses what is no tree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from store.errors import BadRound
from store.metrics import at_risk, overlap
from store.records import NodeRecord, RoundRecord


@dataclass
class DepthTally:
    """Counts of a round's nodes at one depth."""

    nodes: int = 0
    match_count: int = 0
    at_risk_count: int = 0
    accepted_count: int = 0
    overlap_sum: float = 0.0
    overlap_count: int = 0


@dataclass
class RoundTally(DepthTally):
    """Counts of a whole round."""

    tokens: int = 0
    depths: dict[int, DepthTally] = field(default_factory=dict)


def tally(record: RoundRecord) -> RoundTally:
    """Count a round's nodes. Raises `BadRound` when they are no tree or the path is no root path."""
    found = RoundTally()
    for node, parent_accepted in _walk(record):
        at_depth = found.depths.get(node.depth)
        if at_depth is None:
            at_depth = found.depths[node.depth] = DepthTally()
        at_depth.nodes += 1
        at_depth.match_count += node.match
        at_depth.accepted_count += node.accepted
        at_depth.at_risk_count += at_risk(parent_accepted, node.depth, record.accepted_length, record.cut)
        share = overlap(node.target_p, node.draft_p)
        if share is not None:
            at_depth.overlap_sum += share
            at_depth.overlap_count += 1
    for at_depth in found.depths.values():
        if at_depth.accepted_count > 1:
            raise _not_a_tree(record, "two nodes of one depth are accepted")
        found.nodes += at_depth.nodes
        found.match_count += at_depth.match_count
        found.at_risk_count += at_depth.at_risk_count
        found.accepted_count += at_depth.accepted_count
        found.overlap_sum += at_depth.overlap_sum
        found.overlap_count += at_depth.overlap_count
    if found.accepted_count != record.accepted_length:
        raise _not_a_tree(record, f"{found.accepted_count} nodes are accepted, not {record.accepted_length}")
    found.tokens = record.accepted_length + (record.bonus_token_id is not None)
    return found


def _walk(record: RoundRecord) -> Iterator[tuple[NodeRecord, bool]]:
    """Every node, and whether its parent was accepted; checks each against those before it."""
    nodes = record.nodes
    for i, node in enumerate(nodes):
        if node.idx != i:
            raise _not_a_tree(record, f"node {i} calls itself {node.idx}")
        if node.parent is None:
            depth, parent_accepted = 1, True
        elif 0 <= node.parent < i:
            parent = nodes[node.parent]
            depth, parent_accepted = parent.depth + 1, parent.accepted
        else:
            raise _not_a_tree(record, f"node {i} has parent {node.parent}")
        if node.depth != depth:
            raise _not_a_tree(record, f"node {i} has depth {node.depth}, not {depth}")
        if node.accepted and not parent_accepted:
            raise _not_a_tree(record, f"node {i} is accepted, its parent is not")
        # Also catches NaN, which SQLite would store as NULL.
        if not node.target_p >= 0.0:
            raise _not_a_tree(record, f"node {i} has target probability {node.target_p}")
        yield node, parent_accepted


def _not_a_tree(record: RoundRecord, why: str) -> BadRound:
    return BadRound(f"round {record.number} cannot be recorded: {why}")
