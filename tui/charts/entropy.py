"""Draft entropy: how sure the draft was where its nodes matched, and where they did not."""

from __future__ import annotations

from math import inf

from spectui.store.counts import metrics
from spectui.tui.charts.base import Chart, Point, Side, Source
from spectui.tui.terminal.cells import count, number, share


def _matched(source: Source) -> list[Point]:
    return _points(source, "matched")


def _unmatched(source: Source) -> list[Point]:
    return _points(source, "unmatched")


def _points(source: Source, kind: str) -> list[Point]:
    bins = source.bins.entropy if source.bins else ()
    nodes_of = [each.matched if kind == "matched" else each.unmatched for each in bins]
    step = bins[0].high if bins else 0.0
    points = []
    for each, nodes in zip(bins, nodes_of, strict=True):
        part = metrics.ratio(nodes, sum(nodes_of))
        last = each.high == inf
        where = f"{each.low:.2f} nats and more" if last else f"{each.low:.2f} to {each.high:.2f} nats"
        says = f"{share(part)} of the {kind}  {count(nodes)} nodes"
        points.append(Point(each.low, each.low + step if last else each.high, part, where, says))
    return points


CHART = Chart(
    name="entropy",
    place=3,
    title="draft entropy",
    note="left: matched  right: not, in nats",
    help="how unsure the draft was where its nodes matched, and where they did not",
    across="draft entropy at the parent, nats",
    up="share of the matched, of the unmatched nodes",
    sides=(Side(_matched, "matched"), Side(_unmatched, "not matched")),
    tick=lambda nats: number(nats, 1),
    needs_probabilities=True,
)
