"""Pruning: gives up the nodes of prompts that ended, and keeps their rounds, their text and every count.

What stays of a pruned prompt is the committed path of each round (its text is made of that) and, in `pruned`,
a recount of all its nodes; so rollups can still be checked, and readers that need all nodes know which are pruned.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import datetime

from spectui.store.clock import now, stamp
from spectui.store.counts.recount import recount, to_json
from spectui.store.counts.rollups import add_block
from spectui.store.database import Connection, raw
from spectui.store.rows import HALF_DONE_SQL
from spectui.store.sqlite.batches import in_batches
from spectui.store.sqlite.transactions import explained, transaction


def prune_session(
    db: Connection,
    session_id: int,
    before: datetime | None,
    progress: Callable[[str, int], None] = lambda what, done: None,
) -> tuple[int, int]:
    """Give up the nodes of all prompts of a session that ended by `before` (None: none); (prompts, nodes) of them.

    Only prompts that ended are touched, in short transactions; killed at any point, it is finished by the
    next call. `progress` is called with "nodes" and their number so far. Raises `StoreError` when the file cannot be
    written.
    """
    connection = raw(db)
    prompts = nodes = 0
    if before is not None:
        for generation_id in _prunable(connection, session_id, stamp(before)):
            prompts += _mark(connection, generation_id)
    for generation_id in _uncleared(connection, session_id):
        nodes = _clear(connection, generation_id, nodes, progress)
    return prompts, nodes


def _prunable(connection: sqlite3.Connection, session_id: int, before: str) -> list[int]:
    with explained(None, connection):
        rows = connection.execute(
            f"SELECT id FROM generation WHERE session_id = ? AND ended_at <= ? AND node_count > 0"
            f" AND status NOT IN ('pending', 'running') AND NOT {HALF_DONE_SQL}"
            " AND id NOT IN (SELECT generation_id FROM pruned)",
            (session_id, before),
        ).fetchall()
    return [row[0] for row in rows]


def _mark(connection: sqlite3.Connection, generation_id: int) -> int:
    """Keep a recount of the prompt; 1, or 0 when it has begun again meanwhile."""
    with explained(None, connection):
        # Outside the transaction: only a worker that restarts it writes to a prompt that ended.
        counts = recount(connection, generation_id=generation_id)
        ended_at = _finish_time(connection, generation_id)
    if ended_at is None:
        return 0
    with transaction(connection):
        if _finish_time(connection, generation_id) != ended_at:
            return 0
        add_block(connection, generation_id)
        connection.execute(
            "INSERT OR IGNORE INTO pruned (generation_id, at, counts) VALUES (?, ?, ?)",
            (generation_id, now(), to_json(counts)),
        )
    return 1


def _finish_time(connection: sqlite3.Connection, generation_id: int) -> str | None:
    row = connection.execute(
        "SELECT ended_at FROM generation WHERE id = ? AND status NOT IN ('pending', 'running')",
        (generation_id,),
    ).fetchone()
    return None if row is None else row[0]


def _uncleared(connection: sqlite3.Connection, session_id: int) -> list[int]:
    with explained(None, connection):
        rows = connection.execute(
            "SELECT generation_id FROM pruned JOIN generation ON generation.id = generation_id"
            " WHERE session_id = ? AND NOT cleared",
            (session_id,),
        ).fetchall()
    return [row[0] for row in rows]


def _clear(
    connection: sqlite3.Connection, generation_id: int, removed: int, progress: Callable[[str, int], None]
) -> int:
    """Delete the nodes off the committed paths, some rounds at a time; returns `removed` plus their number."""
    at = 0

    def step(rounds: int) -> int:
        nonlocal at, removed
        rows = connection.execute(
            "SELECT id, number FROM round WHERE generation_id = ? AND number > ? ORDER BY number LIMIT ?",
            (generation_id, at, rounds),
        ).fetchall()
        for round_id, _ in rows:
            removed += connection.execute(
                "DELETE FROM node WHERE round_id = ? AND NOT accepted", (round_id,)
            ).rowcount
        if rows:
            at = rows[-1][1]
        else:
            connection.execute("UPDATE pruned SET cleared = 1 WHERE generation_id = ?", (generation_id,))
        return len(rows)

    in_batches(connection, step, lambda _: progress("nodes", removed))
    return removed
