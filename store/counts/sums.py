"""Sums over nodes and rounds, the columns of every table of counts, each with the SQL that gives it.

A new sum over nodes is a field of `NodeSums`, its place in `tally.DepthTally.sums` and a step of the schema.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from spectui.store.counts import metrics
from spectui.store.counts.metrics import AT_RISK_SQL, OVERLAP_SQL, Metric


@dataclass(frozen=True, slots=True)
class NodeSums:
    """Sums over some nodes."""

    match_count: int = field(metadata={"sql": 'coalesce(sum(node."match"), 0)'})
    at_risk_count: int = field(metadata={"sql": f"sum({AT_RISK_SQL})"})
    accepted_count: int = field(metadata={"sql": "sum(node.accepted)"})
    overlap_sum: float = field(metadata={"sql": f"total({OVERLAP_SQL})"})
    overlap_count: int = field(metadata={"sql": "count(node.draft_p + node.target_p)"})
    unjudged_count: int = field(metadata={"sql": 'count(*) - count(node."match")'})
    """Nodes of which it is not known whether they match."""

    accepted_at_risk = Metric(metrics.accepted_at_risk, "accepted_count", "at_risk_count")
    mean_overlap = Metric(metrics.mean_overlap, "overlap_sum", "overlap_count")


NODE_SQL: dict[str, str] = {column.name: column.metadata["sql"] for column in fields(NodeSums)}
"""Column -> aggregate over `NODES_SQL`."""

NODES_SQL = """
    round JOIN node ON node.round_id = round.id
    LEFT JOIN node AS parent ON parent.round_id = node.round_id AND parent.idx = node.parent
"""
"""Nodes joined to their round and their parent."""

TIMES = ("draft_ms", "verify_ms", "other_ms")


def whole(name: str) -> str:
    """SQL of the sum of a column of times; NULL where one of the rows lacks it."""
    return f"CASE WHEN count({name}) = count(*) THEN sum({name}) END"


ROUND_SUMS = {
    "rounds": "count(*)",
    "tokens": "sum(round.accepted_length) + count(round.bonus_token_id)",
    "accepted_count": "sum(round.accepted_length)",
    **{name: whole(f"round.{name}") for name in TIMES},
}
"""Columns of `rollup_block` after its key -> aggregate over `round`."""

DEPTH_SUMS = {
    "nodes": "count(*)",
    **NODE_SQL,
    "rounds_at_risk": f"count(DISTINCT CASE WHEN {AT_RISK_SQL} THEN round.id END)",
    # A path has one node a depth, so that the rounds which reached it are its accepted nodes.
    "rounds_reached": NODE_SQL["accepted_count"],
}
"""Columns of `rollup_depth` and `rollup_block_depth` after their keys -> aggregate over `NODES_SQL`."""

TASK_SUMS = ("prompts", "rounds", "nodes", "tokens", *NODE_SQL, *TIMES)
"""Columns of `rollup_task` after its key."""

GENERATION_NAMES = {"tokens": "token_count", "rounds": "round_count", "nodes": "node_count"}
"""Column of `rollup_task` -> that of `generation`, where they differ."""

GENERATION_SUMS = (*GENERATION_NAMES.values(), *NODE_SQL, *TIMES)
"""Columns of `generation` that sum up its rounds."""


def plus(some: float | None, more: float | None) -> float | None:
    """The sum of two sums; None where either is not known."""
    return None if some is None or more is None else some + more


def added(columns: tuple[str, ...], value: str = "?") -> str:
    """SQL that adds a parameter to each column, or ``value``, in which {name} stands for the column."""
    return ", ".join(f"{name} = {name} + {value.format(name=name)}" for name in columns)
