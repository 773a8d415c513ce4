"""The counts of generations and rollups, worked out anew from rounds and nodes.

Written apart from `store.tally`, in SQL, so that each proves the other. Two grouped scans, one row per
prompt and depth; nothing per node is done in Python.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field

from store.metrics import AT_RISK_SQL, OVERLAP_SQL

Key = tuple[int | str, ...]
Sums = dict[str, float]

NODE_SUMS = ("match_count", "at_risk_count", "accepted_count", "overlap_sum", "overlap_count")
GENERATION_SUMS = (
    "token_count",
    "round_count",
    "node_count",
    *NODE_SUMS,
    "draft_ms",
    "verify_ms",
    "other_ms",
)
TASK_SUMS = ("prompts", "rounds", "nodes", "tokens", *NODE_SUMS, "draft_ms", "verify_ms", "other_ms")
DEPTH_SUMS = ("nodes", *NODE_SUMS, "rounds_at_risk", "rounds_reached")

_NODES = f"""
    SELECT round.generation_id, node.depth, count(*), sum(node."match"), sum({AT_RISK_SQL}), sum(node.accepted),
           total({OVERLAP_SQL}), count(node.draft_p),
           count(DISTINCT CASE WHEN {AT_RISK_SQL} THEN round.id END)
    FROM generation
    JOIN round ON round.generation_id = generation.id
    JOIN node ON node.round_id = round.id
    LEFT JOIN node AS parent ON parent.round_id = node.round_id AND parent.idx = node.parent
    WHERE :session_id IS NULL OR generation.session_id = :session_id
    GROUP BY round.generation_id, node.depth
"""

_ROUNDS = """
    SELECT round.generation_id, round.accepted_length, count(*), count(round.bonus_token_id),
           sum(round.draft_ms), sum(round.verify_ms), sum(round.other_ms)
    FROM generation
    JOIN round ON round.generation_id = generation.id
    WHERE :session_id IS NULL OR generation.session_id = :session_id
    GROUP BY round.generation_id, round.accepted_length
"""

_GENERATIONS = """
    SELECT id, session_id, task, status != 'pending'
    FROM generation
    WHERE :session_id IS NULL OR session_id = :session_id
"""


@dataclass
class Recount:
    """Column -> value, by the key of the row it belongs to."""

    generations: dict[Key, Sums] = field(default_factory=dict)
    tasks: dict[Key, Sums] = field(default_factory=dict)
    lengths: dict[Key, Sums] = field(default_factory=dict)
    depths: dict[Key, Sums] = field(default_factory=dict)


def recount(connection: sqlite3.Connection, session_id: int | None = None) -> Recount:
    """Count a session, or all of them. Call within a transaction when others may be writing."""
    only = {"session_id": session_id}
    found = Recount()
    owner: dict[int, tuple[int, str]] = {}
    for generation, session, task, started in connection.execute(_GENERATIONS, only):
        owner[generation] = (session, task)
        found.generations[(generation,)] = dict.fromkeys(GENERATION_SUMS, 0)
        if started:
            found.tasks.setdefault((session, task), dict.fromkeys(TASK_SUMS, 0))["prompts"] += 1
    for generation, length, rounds, bonuses, *times in connection.execute(_ROUNDS, only):
        session, task = owner[generation]
        by_length = found.lengths.setdefault((session, task, length), {"rounds": 0})
        by_length["rounds"] += rounds
        added = dict(zip(("draft_ms", "verify_ms", "other_ms"), times, strict=True))
        tokens = length * rounds + bonuses
        _add(found.generations[(generation,)], added | {"round_count": rounds, "token_count": tokens})
        by_task = found.tasks.setdefault((session, task), dict.fromkeys(TASK_SUMS, 0))
        _add(by_task, added | {"rounds": rounds, "tokens": tokens})
    for generation, depth, nodes, *sums, at_risk in connection.execute(_NODES, only):
        session, task = owner[generation]
        added = dict(zip(NODE_SUMS, sums, strict=True))
        _add(found.generations[(generation,)], added | {"node_count": nodes})
        _add(found.tasks.setdefault((session, task), dict.fromkeys(TASK_SUMS, 0)), added | {"nodes": nodes})
        by_depth = found.depths.setdefault((session, task, depth), dict.fromkeys(DEPTH_SUMS, 0))
        # A path has one node a depth, so that the rounds which reached it are its accepted nodes.
        reached = added["accepted_count"]
        _add(by_depth, added | {"nodes": nodes, "rounds_at_risk": at_risk, "rounds_reached": reached})
    return found


def rebuild(connection: sqlite3.Connection, session_id: int) -> None:
    """Replace a session's sums and rollups by a recount. Call within a transaction."""
    found = recount(connection, session_id)
    connection.executemany(
        f"UPDATE generation SET {', '.join(f'{c} = :{c}' for c in GENERATION_SUMS)} WHERE id = :id",
        [sums | {"id": key[0]} for key, sums in found.generations.items()],
    )
    for table, keys, rows in tables(found):
        connection.execute(f"DELETE FROM {table} WHERE session_id = ?", (session_id,))
        for key, sums in rows.items():
            columns = (*keys, *sums)
            connection.execute(
                f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})",
                (*key, *sums.values()),
            )


def tables(found: Recount) -> list[tuple[str, tuple[str, ...], dict[Key, Sums]]]:
    """Rollup table, its key columns, and its rows."""
    return [
        ("rollup_task", ("session_id", "task"), found.tasks),
        ("rollup_length", ("session_id", "task", "accepted_length"), found.lengths),
        ("rollup_depth", ("session_id", "task", "depth"), found.depths),
    ]


def _add(sums: Sums, more: Sums) -> None:
    for column, value in more.items():
        sums[column] += value
