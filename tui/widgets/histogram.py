"""One small chart a task: bars across for accepted length and depth, upright ones for all others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from textual.binding import Binding

from spectui.store.counts.metrics import Interval
from spectui.store.rows import TaskFigures
from spectui.tui.charts.points import Chart, Point, Source, highest, points
from spectui.tui.terminal.cells import (
    NOTHING,
    bar,
    fit,
    fitting,
    number,
    pad,
    rate,
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


class Histogram(Rows, can_focus=True):
    """One block of bars a task, as many tasks as the session has; scrolls when they do not fit."""

    DEFAULT_CSS = "Histogram { scrollbar-gutter: stable; }"
    BINDINGS = [Binding("enter", "screen.zoom_chart", show=False)]  # noqa: RUF012

    def __init__(self, chart: Chart, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.chart: Chart = chart
        self._figures: Mapping[str, TaskFigures] = {}
        self._intervals: Mapping[str, Interval] = {}
        self._tasks: Sequence[str] = ()
        self._sources: Mapping[str, Source] = {}
        self._deepest = 0
        self._highest = 1.0
        """The highest share of any length in any task."""
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
        # All tasks on one scale, so that bars as long are shares as high.
        self._highest = max(
            (most / f.rounds for f in self._figures.values() if (most := max(f.lengths.values(), default=0))),
            default=1.0,
        )
        means = [number(figures.mean_accepted_length) for figures in self._figures.values()]
        self._longest_mean = max([4, *map(len, means)])
        slots = task_slots(self._tasks)
        deep = (self._bins if self._across else UPRIGHT) + 1
        # Two tasks abreast where one below the other would have to scroll.
        abreast = 2 if deep * len(self._tasks) > self.size.height and width >= TWO_ABREAST else 1
        each = (width - GAP * (abreast - 1)) // abreast
        lines = -(-len(self._tasks) // abreast)
        roomy = self.size.height >= lines * (deep + 1) - 1
        rows: list[Row] = []
        for start in range(0, len(self._tasks), abreast):
            if rows and roomy:
                rows.append(())
            blocks = [self._block(t, f"task-{slots[t]}", each) for t in self._tasks[start : start + abreast]]
            rows += [_side_by_side(cells) for cells in zip(*blocks, strict=True)]
        self.set_rows(rows)

    @property
    def _across(self) -> bool:
        return self.chart in ("length", "depth")

    @property
    def _bins(self) -> int:
        deepest = max(self._deepest, 1)
        return deepest + 1 if self.chart == "length" else deepest

    def _block(self, task: str, role: str, width: int) -> list[Row]:
        figures = self._figures.get(task)
        rows = [self._heading(task, figures, role, width)]
        if not self._across:
            rows += self._upright(task, role, width)
        elif self.chart == "length":
            rows += [self._length_row(figures, i, role, width) for i in range(self._bins)]
        else:
            rows += [self._depth_row(figures, d, role, width) for d in range(1, self._bins + 1)]
        return rows

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

    def _length_row(self, figures: TaskFigures | None, length: int, role: str, width: int) -> Row:
        rounds = figures.rounds if figures else 0
        here = figures.lengths.get(length, 0) if figures else 0
        value = f"{here / rounds * 100:3.0f} %" if rounds else "    –"
        part = here / rounds / self._highest if rounds else 0.0
        return self._bar_row(f"{length}", part, value, role, width)

    def _depth_row(self, figures: TaskFigures | None, depth: int, role: str, width: int) -> Row:
        at = figures.depths.get(depth) if figures else None
        hazard = at.hazard if at else None
        survival = figures.survival if figures else []
        reached = survival[depth - 1] if depth <= len(survival) else None
        value = f"h {share(hazard):>3}  S {share(reached):>3}" if width >= 30 else f"{share(hazard):>3}"
        return self._bar_row(f"{depth}", hazard or 0.0, value, role, width)

    def _upright(self, task: str, role: str, width: int) -> list[Row]:
        """A task's chart as columns under one scale, the highest value beside the first row."""
        source = self._sources.get(task)
        sides = [points(self.chart, source)] if source else []
        if self.chart == "entropy" and source:
            sides.append(points(self.chart, source, matched=False))
        known = [side for side in sides if any(point.value is not None for point in side)]
        if not known:
            blank: list[Row] = [((" " * width, "text"),)] * (UPRIGHT - 1)
            why = "no draft probabilities" if self._figures.get(task) and source else "nothing recorded yet"
            why = (source.unknown if source else "") or why
            return [((pad(fitting([f"  {why}"], width), width), "muted"),), *blank]
        # All tasks under one scale, so that they can be told apart by height.
        top = highest(self.chart, self._all_points())
        most = rate(top) if self.chart == "speed" else number(top)
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

    def _all_points(self) -> list[list[Point]]:
        sources = [self._sources[task] for task in self._tasks if task in self._sources]
        found = [points(self.chart, source) for source in sources]
        if self.chart == "entropy":
            found += [points(self.chart, source, matched=False) for source in sources]
        return found

    @staticmethod
    def _bar_row(label: str, part: float, value: str, role: str, width: int) -> Row:
        label = pad(label, 2, "right") + " "
        room = max(width - len(label) - len(value) - 2, 1)
        return (
            (label, "muted"),
            (bar(part, room) + " ", role),
            (pad(value, width - len(label) - room - 1, "right"), "text"),
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
