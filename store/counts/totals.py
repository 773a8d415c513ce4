"""The rows of `rollup_task` that a writer adds to, with their bins."""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Sequence

from spectui.store.counts import bins
from spectui.store.errors import StoreError

_ADD = """
    UPDATE rollup_task SET
        rounds = rounds + 1, tokens = tokens + ?, nodes = nodes + ?,
        match_count = match_count + ?, at_risk_count = at_risk_count + ?, accepted_count = accepted_count + ?,
        overlap_sum = overlap_sum + ?, overlap_count = overlap_count + ?,
        draft_ms = draft_ms + ?, verify_ms = verify_ms + ?, other_ms = other_ms + ?, bins = ?
    WHERE session_id = ? AND task = ? AND rounds = ?
"""
_Held = tuple[int, "array[int]"]
"""Rounds of a task, and its bins at that time."""


class Totals:
    """Adds rounds to the totals of one session's tasks, within the transaction of whoever calls.

    Bins are held here between rounds, so that a round writes them without reading them. What is held is
    used only while the row has as many rounds as when it was last written.
    """

    def __init__(self, connection: sqlite3.Connection, session_id: int) -> None:
        self._connection = connection
        self._session_id = session_id
        self._held: dict[str, _Held] = {}

    def add(self, task: str, sums: Sequence[float], grown: Sequence[int]) -> None:
        """Add a round: its sums in the order of the table's columns, and the bins that grow by one."""
        held = self._held.get(task)
        if held is None or not self._add(task, sums, grown, held):
            self.forget()
            if not self._add(task, sums, grown, self._read(task)):
                raise StoreError(f"task '{task}' changed while a round of it was recorded")

    def forget(self) -> None:
        """Read the rows again at the next round: what was held may not have been committed."""
        self._held.clear()

    def _add(self, task: str, sums: Sequence[float], grown: Sequence[int], held: _Held) -> bool:
        """Whether the row was as it is held; then it has the round."""
        rounds, counts = held
        for place in grown:
            counts[place] += 1
        self._held[task] = (rounds + 1, counts)
        # Without draft probabilities nothing is ever counted, and nothing is stored.
        blob = bins.packed(counts) if grown or any(counts) else b""
        return self._connection.execute(_ADD, (*sums, blob, self._session_id, task, rounds)).rowcount == 1

    def _read(self, task: str) -> _Held:
        row = self._connection.execute(
            "SELECT rounds, bins FROM rollup_task WHERE session_id = ? AND task = ?", (self._session_id, task)
        ).fetchone()
        if row is None:
            raise StoreError(f"the figures of task '{task}' are gone from the database")
        return row[0], bins.unpacked(row[1])
