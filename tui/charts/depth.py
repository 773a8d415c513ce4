"""Acceptance by depth: the share of accepted paths that go on to each depth of the tree."""

from __future__ import annotations

from spectui.store.counts import metrics
from spectui.store.rows import TaskFigures
from spectui.tui.charts.base import Bar, Chart, Point, Side, Source
from spectui.tui.terminal.cells import count, share


def _points(source: Source) -> list[Point]:
    points = []
    for depth in sorted(source.depths):
        risked, reached = source.depths[depth]
        hazard = metrics.hazard(reached, risked)
        says = f"h {share(hazard)}  {count(reached)} of {count(risked)} paths"
        points.append(Point(depth - 0.5, depth + 0.5, hazard, f"depth {depth}", says))
    return points


def _bars(figures: TaskFigures | None, deepest: int) -> list[Bar]:
    bars = []
    survival = figures.survival if figures else []
    for depth in range(1, deepest + 1):
        level = figures.depths.get(depth) if figures else None
        hazard = level.hazard if level else None
        reached = survival[depth - 1] if depth <= len(survival) else None
        text = f"h {share(hazard):>3}  S {share(reached):>3}"
        bars.append(Bar(f"{depth}", hazard, text, short=f"{share(hazard):>3}"))
    return bars


CHART = Chart(
    name="depth",
    place=2,
    title="acceptance by depth",
    note="h goes on to this depth  S gets there",
    help="how far into the tree accepted paths go",
    across="depth in the tree",
    up="h: share of paths that go on to it",
    sides=(Side(_points),),
    bars=_bars,
    top=1.0,
    tick=lambda depth: f"{depth:.0f}",
    inset=0.5,
)
