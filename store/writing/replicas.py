"""Writing of replicas, by the worker of their session alone."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from typing import Any

from spectui.store.clock import now

JSON_COLUMNS = ("gpu", "costs")


def add_replica(
    connection: sqlite3.Connection, session_id: int, engine: str, host: str, pid: int
) -> tuple[int, int]:
    """Insert a replica that has shown itself; returns its id and its number. Call within a transaction."""
    (number,) = connection.execute(
        "SELECT coalesce(max(number), 0) + 1 FROM replica WHERE session_id = ?", (session_id,)
    ).fetchone()
    row = connection.execute(
        "INSERT INTO replica (session_id, number, engine, host, pid, joined_at, heartbeat_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (session_id, number, engine, host, pid, now(), now()),
    ).lastrowid
    assert row is not None
    return row, number


def update_replica(connection: sqlite3.Connection, replica_id: int, columns: Mapping[str, Any]) -> None:
    """Write columns of a replica; call within a transaction."""
    values = {
        name: json.dumps(value) if name in JSON_COLUMNS and value is not None else value
        for name, value in columns.items()
    }
    names = ", ".join(f"{name} = ?" for name in values)
    connection.execute(f"UPDATE replica SET {names} WHERE id = ?", (*values.values(), replica_id))


def leave_all(connection: sqlite3.Connection, session_id: int) -> None:
    """Mark the replicas of an earlier worker as gone with it; call within a transaction."""
    connection.execute(
        "UPDATE replica SET left_at = coalesce(heartbeat_at, joined_at), reason = 'its worker ended'"
        " WHERE session_id = ? AND left_at IS NULL",
        (session_id,),
    )
