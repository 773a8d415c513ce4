"""Measurements of plain decoding during a run, and the speed-up computed from them."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median, stdev

from spectui.store.clock import now
from spectui.store.counts import metrics
from spectui.store.counts.intervals import median_ranks
from spectui.store.reading.reader import Reader

STUDENT_T = {3: 4.303, 4: 3.182, 5: 2.776}
"""Standard errors from the middle of a 95 % interval to its ends, by the number of values (scipy's, which would take a
third of a second of the run to import)."""


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
    connection: sqlite3.Connection, session_id: int, ms_per_token: float, tokens: int, round_ms: float | None
) -> None:
    """Insert a measurement, and bring the session's row up to date; call within a transaction."""
    connection.execute(
        "INSERT INTO baseline (session_id, at, ms_per_token, tokens, round_ms) VALUES (?, ?, ?, ?, ?)",
        (session_id, now(), ms_per_token, tokens, round_ms),
    )
    refresh(connection, session_id)


def refresh(connection: sqlite3.Connection, session_id: int) -> None:
    """Compute anew what the session's row says of plain decoding; call within a transaction.

    A shared machine is faster in one second than in the next. So each measurement is divided by the time of the rounds
    just before and after it. The baseline is the median of these ratios, times the mean time of a round in the whole
    session: as if both had been measured at the same time, and held up alike. Its range is that of the median's 95 %
    interval. Where times of rounds are not known, it is the median of the measurements, without a range.
    """
    rows = connection.execute(
        "SELECT ms_per_token, round_ms FROM baseline WHERE session_id = ?", (session_id,)
    ).fetchall()
    pairs = [(ms, beside) for ms, beside in rows if beside]
    (whole,) = connection.execute(
        f"SELECT total({metrics.total_ms_sql('generation')}) / total(round_count) FROM generation"
        " WHERE session_id = ?",
        (session_id,),
    ).fetchone()
    if not rows:
        return
    count, middle, low, high = len(rows), median(ms for ms, _ in rows), None, None
    if pairs and whole:
        ratio, ends = pace(pairs)
        count, middle = len(pairs), whole * ratio
        low, high = (None, None) if ends is None else (whole * ends[0], whole * ends[1])
    connection.execute(
        "UPDATE session SET baseline_ms = ?, baseline_low_ms = ?, baseline_high_ms = ?, baseline_count = ?"
        " WHERE id = ?",
        (middle, low, high, count, session_id),
    )


def pace(measured: Sequence[tuple[float, float]]) -> tuple[float, tuple[float, float] | None]:
    """Time of a plain token over that of a round, and its 95 % interval, from pairs of both.

    The median of the ratios. From six on its interval ends at two of them, whatever their distribution; with three to
    five it is Student's, of their logarithms. With fewer there is none: two that happen to be close say nothing.
    """
    ratios = sorted(plain / round_ms for plain, round_ms in measured)
    count, middle = len(ratios), median(ratios)
    ranks = median_ranks(count)
    if ranks is not None:
        return middle, (ratios[ranks[0]], ratios[ranks[1]])
    if count not in STUDENT_T:
        return middle, None
    # The median of a few normal values is off by a quarter more than their mean.
    half = STUDENT_T[count] * 1.2533 * stdev(map(math.log, ratios)) / math.sqrt(count)
    return middle, (middle * math.exp(-half), middle * math.exp(half))


def baselines(reader: Reader, session_id: int) -> list[Baseline]:
    """All measurements of a session, oldest first. Raises `StoreError` when it cannot be read."""
    sql = "SELECT at, ms_per_token, tokens, round_ms FROM baseline WHERE session_id = ? ORDER BY id"
    return [Baseline(*row) for row in reader.fetch(sql, session_id)]
