"""Points over decoding time: rounds shared out to equal stretches of time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from spectui.tui.charts.base import Point, Source
from spectui.tui.charts.time_spans import TIME_BINS
from spectui.tui.terminal.cells import count, duration


@dataclass
class Sums:
    """The sums over the rounds of one stretch of time, parts of rounds included."""

    rounds: float = 0.0
    tokens: float = 0.0
    accepted: float = 0.0
    ms: float = 0.0


def points_over_time(
    source: Source, value: Callable[[Sums], float | None], words: Callable[[float | None], str]
) -> list[Point]:
    """The `value` of each stretch, and in `words`. A span counts in a stretch by how much of it lies there."""
    spans = [span for span in source.spans if span.end > span.start]
    if not spans or not source.total_ms:
        return []
    bins = min(TIME_BINS, len(spans))
    width = source.total_ms / bins
    stretches = [Sums() for _ in range(bins)]
    for span in spans:
        for place in range(int(span.start / width), min(int(span.end / width), bins - 1) + 1):
            inside = min(span.end, (place + 1) * width) - max(span.start, place * width)
            if inside > 0:
                part, sums = inside / (span.end - span.start), stretches[place]
                sums.rounds += span.rounds * part
                sums.tokens += span.tokens * part
                sums.accepted += span.accepted * part
                sums.ms += span.ms * part
    points = []
    for place, sums in enumerate(stretches):
        low, high = place * width / 1000, (place + 1) * width / 1000
        mean = value(sums)
        says = f"{words(mean)}  {count(round(sums.tokens))} tokens"
        points.append(Point(low, high, mean, f"{duration(low)} to {duration(high)}", says))
    return points
