"""Speed: tokens per second over decoding time."""

from __future__ import annotations

from spectui.store.counts import metrics
from spectui.tui.charts.base import Chart, Point, Side, Source
from spectui.tui.charts.over_time import points_over_time
from spectui.tui.terminal.cells import duration, rate


def _points(source: Source) -> list[Point]:
    return points_over_time(
        source,
        lambda sums: metrics.tokens_per_second(sums.tokens, sums.ms),
        lambda value: f"{rate(value)} tok/s",
    )


CHART = Chart(
    name="speed",
    place=5,
    title="tokens per second",
    note="over decoding time",
    help="how fast each task was decoded, over the decoding time of the session",
    across="decoding time",
    up="tokens per second",
    sides=(Side(_points),),
    value=rate,
    tick=duration,
)
