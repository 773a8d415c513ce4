"""Reads the list of sessions, and more about the one under the cursor, for the home screen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from time import monotonic

from spectui.store.reading.reader import Reader
from spectui.store.rows import SessionSummary
from spectui.store.sweeps.cells import Sweep, sweeps
from spectui.tui.feeds.base import CHART_SECONDS, IDLE_SECONDS, PRESENCE_SECONDS, Feed
from spectui.tui.model.state import Card, Sessions

PAGE = 100
"""Sessions read before all others: more than a screen has rows, and of thousands read in a twentieth of the time."""


class SessionsFeed(Feed):
    """Reads the sessions of a database."""

    def __init__(self, database: Path, post: Callable[[object], None]) -> None:
        super().__init__(database, post)
        self._rows: tuple[SessionSummary, ...] | None = None
        self._by_id: dict[int, SessionSummary] = {}
        self._unread = 0
        self._sweep: Sweep | None = None
        self._read_at = 0.0
        self._wanted: int | None = None
        self._described: SessionSummary | None = None

    def look_at(self, session_id: int | None) -> None:
        """Read more about this session from now on, or about none."""
        if session_id != self._wanted:
            self._wanted = session_id
            self._described = None
            self.ask()

    def period(self) -> float:
        """Once a second while a session runs, at once while there is more to read."""
        if self._rows is None or self._unread:
            return 0.0
        return CHART_SECONDS if any(row.live for row in self._rows) else IDLE_SECONDS

    def poll(self, reader: Reader, *, changed: bool) -> Iterable[object]:
        """The list, when it differs from the one posted last, its first page before the rest; the session looked at,
        likewise, and before the rest."""
        silent = monotonic() - self._read_at > PRESENCE_SECONDS and any(r.live for r in self._rows or ())
        if self._rows is None:
            yield self._list(reader, reader.sessions(PAGE), reader.session_count())
        elif self._unread and self._described is None and self._wanted in self._by_id:
            pass  # its summary is small
        elif changed or silent or self._unread:
            before = Sessions(self._rows, self._unread, self._sweep)
            listed = self._list(reader, reader.sessions())
            if listed != before:  # also where the rest is gone by now: the title counted it
                yield listed
        summary = self._by_id.get(self._wanted) if self._wanted is not None else None
        if summary is not None and summary != self._described:
            self._described = summary
            yield Card(
                summary,
                reader.figures(summary.id),
                reader.output_sample(summary.id),
                reader.events(summary.id),
            )

    def _list(self, reader: Reader, rows: Sequence[SessionSummary], count: int = 0) -> Sessions:
        """These `rows` as the list that is shown from now on, of `count` sessions or of no more than these."""
        self._read_at = monotonic()
        self._rows = tuple(self._same(row) for row in rows)
        self._by_id = {row.id: row for row in self._rows}
        self._unread = max(count - len(self._rows), 0)
        of_sweep = None if self._unread or not self._rows else self._rows[0].sweep_id
        every = () if of_sweep is None else sweeps(reader, self._rows)
        self._sweep = next((each for each in every if each.id == of_sweep and not each.complete), None)
        return Sessions(self._rows, self._unread, self._sweep)

    def _same(self, row: SessionSummary) -> SessionSummary:
        """The object posted before when nothing about it has changed, so that views can go by identity."""
        before = self._by_id.get(row.id)
        return before if before is not None and before == row else row
