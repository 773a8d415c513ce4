"""Reads the data of charts for screens that show nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from spectui.store.reading.reader import Reader
from spectui.tui.charts.base import Source
from spectui.tui.charts.sources import SourceReader
from spectui.tui.feeds.base import CHART_SECONDS, IDLE_SECONDS, Feed


@dataclass(frozen=True)
class Sources:
    """Session -> task -> the data of its charts."""

    by_session: Mapping[int, Mapping[str, Source]]


class ChartFeed(Feed):
    """Reads the sources of some sessions while they change."""

    def __init__(self, database: Path, sessions: Iterable[int], post: Callable[[object], None]) -> None:
        super().__init__(database, post)
        self._readers = {session_id: SourceReader(session_id) for session_id in sessions}
        self._live = True
        self._posted: Sources | None = None

    def period(self) -> float:
        """At once at first, then as often as charts gain from it."""
        if self._posted is None:
            return 0.0
        return CHART_SECONDS if self._live else IDLE_SECONDS

    def poll(self, reader: Reader, *, changed: bool) -> Iterable[object]:
        """The sources, when they differ from those posted last."""
        if not changed and self._posted is not None:
            return
        self._live = any(reader.session(session_id).live for session_id in self._readers)
        sources = Sources({session_id: each.read(reader) for session_id, each in self._readers.items()})
        if sources != self._posted:
            self._posted = sources
            yield sources
