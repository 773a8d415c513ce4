"""Measurements of plain decoding during a run, and the speed-up computed from them."""

from __future__ import annotations

import math
import sqlite3
from dataclasses import dataclass
from statistics import median, quantiles, stdev

from spectui.store.clock import now
from spectui.store.counts import metrics
from spectui.store.reading.reader import Reader

BESIDE = 16
"""Rounds before a measurement, and after it, that it is compared with."""


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
    refresh(connection, session_id)


def refresh(connection: sqlite3.Connection, session_id: int) -> None:
    """Compute anew what the session's row says of plain decoding; call within a transaction.

    A shared machine is faster in one minute than in the next. So each measurement is divided by the time of the rounds
    just before and after it. The baseline is the median of these ratios, times the mean time of a round in the whole
    session: as if both had been measured at the same time. Its range is the 95 % interval of the speed-up on these
    prompts, by the spread of the ratios. Before there are rounds, the baseline is the median of the measurements, with
    the range that most of them lie in.
    """
    rows = connection.execute(
        "SELECT at, ms_per_token FROM baseline WHERE session_id = ? ORDER BY id", (session_id,)
    ).fetchall()
    if not rows:
        return
    known = sorted(value for _, value in rows)
    paced = [
        (value, pace) for at, value in rows if (pace := _pace_at(connection, session_id, at)) is not None
    ]
    middle: float = median(known)
    low, high = None, None
    if len(known) > 1:  # without a tenth at either end: outliers of a busy machine
        low, *_, high = quantiles(known, n=10, method="inclusive")
    if paced:
        (whole,) = connection.execute(
            f"SELECT total({metrics.total_ms_sql('generation')}) / total(round_count) FROM generation"
            " WHERE session_id = ?",
            (session_id,),
        ).fetchone()
        logs = [math.log(value / pace) for value, pace in paced]
        middle = whole * math.exp(median(logs))
        out = _half_width(logs)
        low, high = (None, None) if out is None else (middle * math.exp(-out), middle * math.exp(out))
    connection.execute(
        "UPDATE session SET baseline_ms = ?, baseline_low_ms = ?, baseline_high_ms = ?, baseline_count = ?"
        " WHERE id = ?",
        (middle, low, high, len(known), session_id),
    )


_PACE = f"""
    SELECT total({metrics.total_ms_sql("round")}), count(*) FROM round
    WHERE generation_id = ? AND number > ? AND number <= ?
"""


def _pace_at(connection: sqlite3.Connection, session_id: int, at: str) -> float | None:
    """Milliseconds of a round beside a measurement: of the prompt it fell into, or the ones before and after."""

    def generation(condition: str, order: str) -> tuple[int, int] | None:
        prompt: tuple[int, int] | None = connection.execute(
            f"SELECT id, round_count FROM generation WHERE session_id = :session AND round_count > 0 AND {condition}"
            f" ORDER BY {order} LIMIT 1",
            {"session": session_id, "at": at},
        ).fetchone()
        return prompt

    beside = []
    within = generation("started_at <= :at AND (ended_at IS NULL OR ended_at > :at)", "started_at DESC")
    before = within or generation("ended_at <= :at", "ended_at DESC")
    after = None if within else generation("started_at >= :at", "started_at")
    if before is not None:
        beside.append((before[0], 0, BESIDE) if within else (before[0], before[1] - BESIDE, before[1]))
    if after is not None:
        beside.append((after[0], 0, BESIDE))
    sums = [connection.execute(_PACE, part).fetchone() for part in beside]
    rounds = sum(count for _, count in sums)
    ms = sum(total for total, _ in sums)
    return ms / rounds if rounds and ms > 0 else None


def _half_width(logs: list[float]) -> float | None:
    """Half the width of the interval of the logarithm of the speed-up; None with one ratio."""
    from spectui.store.counts.intervals import student_t

    if len(logs) < 2:
        return None
    # The median of a few normal values is off by a quarter more than their mean.
    error = stdev(logs) / math.sqrt(len(logs)) * (1.2533 if len(logs) > 2 else 1.0)
    return student_t(len(logs) - 1) * error


def baselines(reader: Reader, session_id: int) -> list[Baseline]:
    """All measurements of a session, oldest first. Raises `StoreError` when it cannot be read."""
    sql = "SELECT at, ms_per_token, tokens FROM baseline WHERE session_id = ? ORDER BY id"
    return [Baseline(*row) for row in reader.fetch(sql, session_id)]
