"""Mean accepted length over decoding time."""

from __future__ import annotations

from spectui.store.counts import metrics
from spectui.tui.charts.base import Chart, Point, Side, Source
from spectui.tui.charts.over_time import points_over_time
from spectui.tui.terminal.cells import duration, number


def _points(source: Source) -> list[Point]:
    return points_over_time(
        source,
        lambda sums: metrics.mean_accepted_length(sums.accepted, sums.rounds),
        lambda value: f"E {number(value)}",
    )


CHART = Chart(
    name="course",
    place=6,
    title="accepted length over time",
    note="E over decoding time",
    help="the mean accepted length of each task, over the decoding time of the session",
    across="decoding time",
    up="accepted length",
    sides=(Side(_points),),
    tick=duration,
)
