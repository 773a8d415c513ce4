"""Measurements of plain decoding during a run, and the speed-up computed from them."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from spectui.store.clock import now
from spectui.store.counts import metrics
from spectui.store.counts.pace import Pace, pace_of
from spectui.store.reading.devices import SEVERAL_SQL
from spectui.store.reading.reader import Reader


@dataclass(frozen=True)
class Baseline:
    """One measurement of plain decoding."""

    at: str
    """UTC, ISO 8601."""
    ms_per_token: float
    """Median over its tokens."""
    tokens: int
    round_ms: float | None
    """Mean time of the rounds just before and after it; None in sessions of earlier versions."""


def add_baseline(
    connection: sqlite3.Connection,
    session_id: int,
    ms_per_token: float,
    tokens: int,
    round_ms: float | None,
    *,
    at: str | None = None,
    replica_id: int | None = None,
) -> None:
    """Insert a measurement; `refresh` brings the session's row up to date. Call within a transaction."""
    connection.execute(
        "INSERT INTO baseline (session_id, at, ms_per_token, tokens, round_ms, replica_id)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (session_id, at or now(), ms_per_token, tokens, round_ms, replica_id),
    )


def refresh(connection: sqlite3.Connection, session_id: int) -> None:
    """Compute anew what the session's row says of plain decoding (`counts.pace`); call within a transaction.

    Of a session decoded on devices of several classes it says nothing: `store.reading.devices` has the pace of each.
    """
    rows = connection.execute(
        "SELECT ms_per_token, round_ms FROM baseline WHERE session_id = ?", (session_id,)
    ).fetchall()
    (whole,) = connection.execute(
        f"SELECT total({metrics.total_ms_sql('generation')}) / total(round_count) FROM generation"
        " WHERE session_id = ?",
        (session_id,),
    ).fetchone()
    if not rows:
        return
    several = connection.execute(SEVERAL_SQL.format(which="= ?1"), (session_id,)).fetchone() is not None
    connection.execute(
        "UPDATE session SET baseline_ms = ?, baseline_low_ms = ?, baseline_high_ms = ?, baseline_count = ?"
        " WHERE id = ?",
        (*(Pace() if several else pace_of(rows, whole)), session_id),
    )


def baselines(reader: Reader, session_id: int) -> list[Baseline]:
    """All measurements of a session, oldest first. Raises `StoreError` when it cannot be read."""
    sql = "SELECT at, ms_per_token, tokens, round_ms FROM baseline WHERE session_id = ? ORDER BY id"
    return [Baseline(*row) for row in reader.fetch(sql, session_id)]
