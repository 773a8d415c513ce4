"""Calibration: the share of nodes accepted at each draft probability."""

from __future__ import annotations

from spectui.tui.charts.base import Chart, Point, Side, Source
from spectui.tui.terminal.cells import count, share


def _points(source: Source) -> list[Point]:
    points = []
    for each in source.bins.probability if source.bins else ():
        where = f"q {share(each.low)} to {share(each.high)}"
        says = f"{share(each.acceptance)} of {count(each.at_risk)} at risk"
        says += f"  match {share(each.match_rate)} of {count(each.nodes)}"
        points.append(Point(each.low, each.high, each.acceptance, where, says))
    return points


CHART = Chart(
    name="calibration",
    place=4,
    title="calibration",
    note="accepted at draft probability 0 to 1",
    help="whether nodes are accepted as often as the draft thought; on the diagonal they are",
    across="draft probability",
    up="share accepted of the nodes at risk",
    sides=(Side(_points),),
    top=1.0,
    tick=share,
    diagonal=True,
    needs_probabilities=True,
)
