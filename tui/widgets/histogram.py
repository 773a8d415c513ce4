"""One small chart a task: bars across for accepted length and depth, upright ones for all others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from spectui.store.counts.metrics import Interval
from spectui.store.rows import TaskFigures
from spectui.tui.charts.base import Bar, Chart, Point, Source
from spectui.tui.navigation.keymap import bindings
from spectui.tui.terminal.cells import (
    NOTHING,
    bar,
    fit,
    fitting,
    number,
    pad,
    share,
    short_count,
    stack,
)
from spectui.tui.terminal.textsafe import sanitize_line
from spectui.tui.terminal.theme import task_slots
from spectui.tui.widgets.rows import Cell, Row, Rows

TWO_ABREAST = 66
GAP = 3
"""Cells from which two tasks fit side by side, and cells between them."""

UPRIGHT = 4
"""Rows of an upright chart in a pane, where there is room; and cells right of it for its scale."""
SCALE = 5


ROOMY = 30
"""Cells from which a bar's whole text stands behind it."""


class Histogram(Rows, can_focus=True):
    """One block of bars a task, as many tasks as the session has; scrolls when they do not fit."""

    DEFAULT_CSS = "Histogram { scrollbar-gutter: stable; }"
    BINDINGS = bindings("histogram")

    def __init__(self, chart: Chart, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.chart = chart
        self._figures: Mapping[str, TaskFigures] = {}
        self._intervals: Mapping[str, Interval] = {}
        self._tasks: Sequence[str] = ()
        self._sources: Mapping[str, Source] = {}
        self._deepest = 0
        self._highest = 1.0
        """The value of a full bar."""
        self._longest_mean = 4
        """Cells of the longest mean, so that all stand below each other."""

    def show(
        self,
        figures: Mapping[str, TaskFigures],
        intervals: Mapping[str, Interval],
        tasks: Sequence[str],
        sources: Mapping[str, Source],
    ) -> None:
        """Draw these figures; `tasks` is the session's order, tasks without figures included."""
        self._figures, self._intervals, self._tasks = figures, intervals, tasks
        self._sources = sources
        # Bins are only ever added, so that blocks never move up while a run goes on.
        bins = [max((*f.lengths, *f.depths), default=0) for f in figures.values()]
        self._deepest = max([self._deepest, *bins])
        self._draw()

    def set_chart(self, chart: Chart) -> None:
        """Show another chart."""
        if chart != self.chart:
            self.chart = chart
            self._draw()

    def on_resize(self) -> None:
        """Draw for the new width."""
        self._draw()

    def _draw(self) -> None:
        width = self.room
        if not width or not self._tasks:
            return
        means = [number(figures.mean_accepted_length) for figures in self._figures.values()]
        self._longest_mean = max([4, *map(len, means)])
        slots = task_slots(self._tasks)
        bars = {task: self._bars(task) for task in self._tasks}
        deep = max(map(len, bars.values())) + 1 if self.chart.bars else UPRIGHT + 1
        # All tasks on one scale, so that bars as long are values as high.
        self._highest = (
            self.chart.top
            or max((bar.value or 0.0 for each in bars.values() for bar in each), default=0.0)
            or 1.0
        )
        # Two tasks abreast where one below the other would have to scroll.
        abreast = 2 if deep * len(self._tasks) > self.size.height and width >= TWO_ABREAST else 1
        each = (width - GAP * (abreast - 1)) // abreast
        lines = -(-len(self._tasks) // abreast)
        roomy = self.size.height >= lines * (deep + 1) - 1
        rows: list[Row] = []
        for start in range(0, len(self._tasks), abreast):
            if rows and roomy:
                rows.append(())
            blocks = [
                self._block(t, bars[t], f"task-{slots[t]}", each)
                for t in self._tasks[start : start + abreast]
            ]
            rows += [_side_by_side(cells) for cells in zip(*blocks, strict=True)]
        self.set_rows(rows)

    def _bars(self, task: str) -> list[Bar]:
        draw = self.chart.bars
        return draw(self._figures.get(task), max(self._deepest, 1)) if draw else []

    def _block(self, task: str, bars: Sequence[Bar], role: str, width: int) -> list[Row]:
        rows = [self._heading(task, self._figures.get(task), role, width)]
        if self.chart.bars is None:
            return rows + self._upright(task, role, width)
        return rows + [self._bar_row(each, role, width) for each in bars]

    def _heading(self, task: str, figures: TaskFigures | None, role: str, width: int) -> Row:
        interval = self._intervals.get(task)
        spread = f"±{share(interval.half_width)}" if interval else ""
        mean = number(figures.mean_accepted_length) if figures else NOTHING
        facts: list[Cell] = [
            ("n ", "muted"),
            (pad(short_count(figures.rounds if figures else 0), 5, "right"), "text"),
            ("  α ", "muted"),
            (pad(share(figures.match_rate if figures else None), 3, "right"), "text"),
            ("  E ", "muted"),
            (pad(mean, self._longest_mean, "right"), "strong"),
            (" " + pad(spread, 4), "muted"),
        ]
        taken = sum(len(text) for text, _ in facts)
        if width - taken < 6:  # too narrow for all: the mean without its spread matters most
            facts = facts[4:6]
            taken = sum(len(text) for text, _ in facts)
        name = fit(sanitize_line(task), max(width - taken - 1, 1))
        return ((name + " ", f"{role}-name"), *facts)

    def _upright(self, task: str, role: str, width: int) -> list[Row]:
        """A task's chart as columns under one scale, the highest value beside the first row."""
        source = self._sources.get(task)
        sides = [side.points(source) for side in self.chart.sides] if source else []
        known = [side for side in sides if any(point.value is not None for point in side)]
        if not known:
            blank: list[Row] = [((" " * width, "text"),)] * (UPRIGHT - 1)
            why = "nothing recorded yet"
            if self.chart.needs_probabilities and self._figures.get(task) and source:
                why = source.unknown or "no draft probabilities"
            return [((pad(fitting([f"  {why}"], width), width), "muted"),), *blank]
        # All tasks under one scale, so that they can be told apart by height.
        sources = [self._sources[task] for task in self._tasks if task in self._sources]
        top = self.chart.highest(side.points(each) for each in sources for side in self.chart.sides)
        most = self.chart.value(top)
        beside = max(SCALE, len(most) + 1)
        each = (width - beside - (len(sides) - 1)) // len(sides)
        columns: list[str] = []
        for side in sides:
            if columns:
                columns.append(" " * UPRIGHT)
            columns += _columns(side, each, top)
        spare = " " * max(width - beside - len(columns), 0)
        scale = {0: most, UPRIGHT - 1: "0"}
        return [
            (
                ("".join(column[y] for column in columns) + spare, role),
                (pad(scale.get(y, ""), beside, "right"), "muted"),
            )
            for y in range(UPRIGHT)
        ]

    def _bar_row(self, each: Bar, role: str, width: int) -> Row:
        label = pad(each.label, 2, "right") + " "
        text = each.short if each.short and width < ROOMY else each.text
        room = max(width - len(label) - len(text) - 2, 1)
        return (
            (label, "muted"),
            (bar((each.value or 0.0) / self._highest, room) + " ", role),
            (pad(text, width - len(label) - room - 1, "right"), "text"),
        )


def _columns(side: Sequence[Point], width: int, top: float) -> list[str]:
    """`width` columns of `UPRIGHT` cells: points spread over them, or the highest of those that share one."""
    out = []
    for x in range(width):
        first = x * len(side) // width
        last = max((x + 1) * len(side) // width, first + 1)
        value = max((point.value or 0.0 for point in side[first:last]), default=0.0)
        out.append("".join(stack(value / top, UPRIGHT)))
    return out


def _side_by_side(rows: Sequence[Row]) -> Row:
    """Rows of the same width as one, with a gap between them."""
    joined: list[Cell] = []
    for row in rows:
        joined += [*([(" " * GAP, "text")] if joined else []), *row]
    return tuple(joined)
