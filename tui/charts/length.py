"""Accepted length: the share of rounds that accepted 0, 1, 2, ... draft tokens."""

from __future__ import annotations

from spectui.store.counts import metrics
from spectui.store.rows import TaskFigures
from spectui.tui.charts.base import Bar, Chart, Point, Side, Source
from spectui.tui.terminal.cells import count, share


def _points(source: Source) -> list[Point]:
    points = []
    for length in range(max(source.lengths, default=-1) + 1):
        rounds = source.lengths.get(length, 0)
        part = metrics.ratio(rounds, source.rounds)
        says = f"{share(part)}  {count(rounds)} rounds"
        points.append(Point(length - 0.5, length + 0.5, part, f"{length} accepted", says))
    return points


def _bars(figures: TaskFigures | None, longest: int) -> list[Bar]:
    rounds = figures.rounds if figures else 0
    lengths = figures.lengths if figures else {}
    bars = []
    for length in range(longest + 1):
        part = metrics.ratio(lengths.get(length, 0), rounds)
        bars.append(Bar(f"{length}", part, "    –" if part is None else f"{part * 100:3.0f} %"))
    return bars


CHART = Chart(
    name="length",
    place=1,
    title="accepted length",
    note="n rounds  α match  E mean ±95 %",
    help="how many draft tokens rounds accepted: none, one, two ...",
    across="accepted draft tokens in a round",
    up="share of rounds",
    sides=(Side(_points),),
    bars=_bars,
    tick=lambda length: f"{length:.0f}",
    inset=0.5,
)
