"""Reads the data of charts from rollups, so that a chart costs its bins and never the nodes."""

from __future__ import annotations

from dataclasses import replace

from spectui.store.reading.devices import several_devices
from spectui.store.reading.moments import stretches, tasks_of
from spectui.store.reading.reader import Reader
from spectui.tui.charts.base import Source, source_of
from spectui.tui.charts.time_spans import Span, TimeSpans


class SourceReader:
    """Reads the sources of a session's tasks again and again while it grows.

    The spans of time are read once; what is added to them afterwards is what the totals have grown by since
    the last call, so that a call costs bins and tasks, whatever the history.
    """

    def __init__(self, session_id: int) -> None:
        self._session_id = session_id
        self._spans: TimeSpans | None = None

    def read(self, reader: Reader) -> dict[str, Source]:
        """By task, as it is now. Raises `StoreError`."""
        with reader.snapshot():
            figures = reader.figures(self._session_id)
            bins = reader.bins(self._session_id)
            if self._spans is None or not self._spans.grow(figures):
                self._spans = TimeSpans(
                    figures, tasks_of(reader, self._session_id), stretches(reader, self._session_id)
                )
            several = self._session_id in several_devices(reader, self._session_id)
        known = {task: of_task for task, of_task in bins.items() if not of_task.empty}
        spans = self._spans

        def spans_of(task: str) -> tuple[Span, ...]:
            every = spans.spans(task)
            # Of several classes of devices there is no speed: their times are nothing together.
            return tuple(replace(each, ms=0.0) for each in every) if several else every

        return {
            task: source_of(of_task, known.get(task), spans_of(task), spans.total_ms)
            for task, of_task in figures.items()
        }


def read_sources(reader: Reader, session_id: int) -> dict[str, Source]:
    """The sources of a session's tasks. Raises `StoreError`."""
    return SourceReader(session_id).read(reader)
