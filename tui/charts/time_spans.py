"""Decoding time by task for charts over time: a few hundred spans a task, however long the session."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf

from spectui.store.reading.moments import Stretch
from spectui.store.rows import TaskFigures

TIME_BINS = 96
"""Points of a chart over time, at most."""
MOST = 8 * TIME_BINS
"""Spans of a task, at most; then neighbours are merged."""
FINENESS = 2 * TIME_BINS
"""Merged spans are at most this part of the whole time: half a point of the chart."""


@dataclass(frozen=True)
class Span:
    """Rounds of one task, and when they were decoded: milliseconds of decoding since the session's start."""

    start: float
    end: float
    rounds: int
    tokens: int
    accepted: int
    ms: float
    """Decoding time of these rounds: less than from start to end where another task's lie between them."""


class TimeSpans:
    """The decoding time of a session by task; made from all stretches once, then grown."""

    def __init__(
        self, figures: Mapping[str, TaskFigures], tasks: Mapping[int, str], stretches: Iterable[Stretch]
    ) -> None:
        self._spans: dict[str, list[Span]] = {}
        self._known: dict[str, TaskFigures] = {}
        self.total_ms = 0.0
        for part in stretches:
            self._add(tasks[part.generation_id], part.rounds, part.tokens, part.accepted_count, part.total_ms)
        self._known = dict(figures)

    def spans(self, task: str) -> tuple[Span, ...]:
        """Those of a task, in order of time."""
        return tuple(self._spans.get(task, ()))

    def grow(self, figures: Mapping[str, TaskFigures]) -> bool:
        """Add what the totals have grown by since the last call; False when rounds are gone: make it anew."""
        if any(task not in figures or figures[task].rounds < was.rounds for task, was in self._known.items()):
            return False
        for task, total in figures.items():
            was = self._known.get(task)
            rounds, tokens, accepted, ms = 0, 0, 0, 0.0
            if was is not None:
                rounds, tokens, accepted, ms = was.rounds, was.tokens, was.accepted_count, was.total_ms
            if total.rounds > rounds:
                self._add(
                    task,
                    total.rounds - rounds,
                    total.tokens - tokens,
                    total.accepted_count - accepted,
                    max(total.total_ms - ms, 0.0),
                )
        self._known = dict(figures)
        return True

    def _add(self, task: str, rounds: int, tokens: int, accepted: int, ms: float) -> None:
        if not 0.0 <= ms < inf:
            raise ValueError(f"a decoding time of {ms} ms")
        spans = self._spans.setdefault(task, [])
        begin, self.total_ms = self.total_ms, self.total_ms + ms
        spans.append(Span(begin, self.total_ms, rounds, tokens, accepted, ms))
        if len(spans) > MOST:
            self._spans[task] = _thinned(spans, self.total_ms / FINENESS)


def _thinned(spans: list[Span], longest: float) -> list[Span]:
    """The spans with neighbours merged while the merged span is no longer than `longest`."""
    merged = spans[:1]
    for span in spans[1:]:
        last = merged[-1]
        if span.end - last.start > longest:
            merged.append(span)
        else:
            merged[-1] = Span(
                last.start,
                span.end,
                last.rounds + span.rounds,
                last.tokens + span.tokens,
                last.accepted + span.accepted,
                last.ms + span.ms,
            )
    return merged
