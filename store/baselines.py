"""How long one token at a time takes, as often as a run measured it, and what of it the session's row says."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from statistics import median

from store.clock import now
from store.reader import Reader

OUTSIDE = 0.1
"""Share of the measurements below the range that is shown, and above it: one that the machine was held up in
says nothing about the others."""


@dataclass(frozen=True)
class Baseline:
    """One measurement of plain decoding."""

    at: str
    """UTC, ISO 8601."""
    ms_per_token: float
    """Median over its tokens."""
    tokens: int


def add_baseline(connection: sqlite3.Connection, session_id: int, ms_per_token: float, tokens: int) -> None:
    """Insert a measurement, and bring the session's row up to date; call within a transaction."""
    connection.execute(
        "INSERT INTO baseline (session_id, at, ms_per_token, tokens) VALUES (?, ?, ?, ?)",
        (session_id, now(), ms_per_token, tokens),
    )
    rows = connection.execute(
        "SELECT ms_per_token FROM baseline WHERE session_id = ? ORDER BY ms_per_token", (session_id,)
    )
    known = [value for (value,) in rows]
    low, high = (quantile(known, OUTSIDE), quantile(known, 1 - OUTSIDE)) if len(known) > 1 else (None, None)
    connection.execute(
        "UPDATE session SET baseline_ms = ?, baseline_low_ms = ?, baseline_high_ms = ?, baseline_count = ?"
        " WHERE id = ?",
        (median(known), low, high, len(known), session_id),
    )


def baselines(reader: Reader, session_id: int) -> list[Baseline]:
    """All measurements of a session, oldest first. Raises `StoreError` when it cannot be read."""
    sql = "SELECT at, ms_per_token, tokens FROM baseline WHERE session_id = ? ORDER BY id"
    with reader.snapshot():
        return [Baseline(*row) for rows in reader.scan(sql, session_id) for row in rows]


def quantile(ascending: list[float], part: float) -> float:
    """The value below which that part of them lies, between neighbours in proportion."""
    place = part * (len(ascending) - 1)
    below = int(place)
    above = min(below + 1, len(ascending) - 1)
    return ascending[below] + (place - below) * (ascending[above] - ascending[below])
