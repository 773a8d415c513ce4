"""One chart on all the room there is: axes, several series over each other, and a cursor that reads values."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from textual import events
from textual.message import Message

from spectui.tui.charts import all_charts
from spectui.tui.charts.base import Chart, Point
from spectui.tui.navigation.keymap import bindings, key_for
from spectui.tui.terminal.cells import fit, fitting, pad, stack
from spectui.tui.terminal.glyphs import DOTS, dotted, glyphs
from spectui.tui.widgets.rows import Cell, Row, Rows
from spectui.tui.widgets.series import Series, reading_rows

MARGIN = 7
"""Cells left of the plot, at least: a value, a space and the axis."""
LEAST = 3
"""Rows of the plot below which only the axis is drawn."""


class Plot(Rows, can_focus=True, inherit_bindings=False):
    """Bars for one series, dots joined by lines for several. Only rows that change are sent."""

    DEFAULT_CSS = "Plot { overflow: hidden hidden; }"
    BINDINGS = bindings("plot")

    class Moved(Message):
        """The cursor reads another place, or another value."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._chart = all_charts()[0]
        self._series: tuple[Series, ...] = ()
        self._stops: list[Point] = []
        self._at = 0
        self._margin = MARGIN
        self.known = False
        """True once the session has been read."""

    def show(self, chart: Chart, series: Sequence[Series]) -> None:
        """Draw these series; the cursor stays where it is while the chart does."""
        if chart != self._chart:
            self._at = 0
        self._chart, self._series = chart, tuple(series)
        longest = max((s.points for s in self._series), key=len, default=())
        self._stops = list(longest)
        self._at = min(self._at, max(len(self._stops) - 1, 0))
        self._draw()
        self.post_message(self.Moved())

    @property
    def place(self) -> Point | None:
        """The point under the cursor, of the longest series."""
        return self._stops[self._at] if self._stops else None

    def reading(self) -> list[tuple[Series, Point | None]]:
        """Every series and its point under the cursor."""
        cursor = self.place
        return [
            (series, next((p for p in series.points if cursor and p.low <= cursor.middle < p.high), None))
            for series in self._series
        ]

    def reading_rows(self, width: int) -> list[Row]:
        """The values under the cursor in words."""
        if not self.known:
            return [(("Loading the session…", "muted"),)]
        return reading_rows(self._chart, self.place, self.reading(), width, key_for(self, "chart_1"))

    def on_resize(self) -> None:
        """Draw for the new size."""
        self._draw()

    def action_step(self, by: int) -> None:
        """Move the cursor."""
        self._move(self._at + by)

    def action_edge(self, last: int) -> None:
        """Move the cursor to the first value, or the last."""
        self._move(len(self._stops) - 1 if last else 0)

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """The cursor follows the pointer."""
        self._point(event.x)

    def on_click(self, event: events.Click) -> None:
        """The cursor goes where it is clicked."""
        self._point(event.x)

    def _point(self, x: int) -> None:
        if self._stops and x >= self._margin:
            near = min(
                range(len(self._stops)),
                key=lambda i: abs(self._column(self._stops[i].middle) - (x - self._margin)),
            )
            self._move(near)

    def _move(self, index: int) -> None:
        index = min(max(index, 0), max(len(self._stops) - 1, 0))
        if index != self._at:
            self._at = index
            self._draw()
            self.post_message(self.Moved())

    # Drawing.

    @property
    def _width(self) -> int:
        return max(self.size.width - self._margin - 1, 1)

    @property
    def _range(self) -> tuple[float, float]:
        ends = [end for s in self._series for p in s.points for end in (p.low, p.high)]
        return (min(ends), max(ends)) if ends else (0.0, 1.0)

    def _column(self, x: float) -> int:
        low, high = self._range
        return min(int((x - low) / ((high - low) or 1.0) * self._width), self._width - 1)

    def _draw(self) -> None:
        height = self.size.height - 3
        if not self.size.width or height < LEAST:
            self.set_rows([])
            return
        known = [s for s in self._series if any(p.value is not None for p in s.points)]
        top = self._chart.highest([s.points for s in known])
        self._margin = max(MARGIN, len(self._chart.value(top)) + 2)
        width = self._width
        grid: list[list[Cell]] = [[(" ", "text")] * width for _ in range(height)]
        if self._chart.diagonal:
            self._diagonal(grid)
        if len(known) == 1:
            self._bars(grid, known[0], top)
        else:
            for series in known:
                self._line(grid, series, top)
        rows: list[Row] = [((fitting([self._chart.up], self.size.width), "muted"),)]
        for y, cells in enumerate(grid):
            rows.append((*self._label(y, height, top), *_joined(cells)))
        rows += [self._axis(), self._ticks()]
        self.set_rows(rows)

    def _bars(self, grid: list[list[Cell]], series: Series, top: float) -> None:
        height = len(grid)
        for point in series.points:
            if not point.value:
                continue
            start, end = self._column(point.low), self._column(point.high)
            end = self._width if point.high >= self._range[1] else end
            end -= end - start >= 4  # bars stand apart where there is room
            cells = stack(point.value / top, height)
            for x in range(start, max(end, start + 1)):
                for y, cell in enumerate(cells):
                    if cell != " ":
                        grid[y][x] = (cell, series.role)

    def _line(self, grid: list[list[Cell]], series: Series, top: float) -> None:
        height = len(grid)
        dots = glyphs().dots
        before: tuple[int, float] | None = None
        marks: list[tuple[int, int]] = []
        for point in series.points:
            if point.value is None:
                before = None
                continue
            x = self._column(point.middle)
            y = (1 - min(point.value / top, 1.0)) * (height - 1)
            if before is not None:
                draw_line(grid, before, (x, y), series.role)
            marks.append((x, round(y)))
            before = (x, y)
        for x, row in marks:
            grid[row][x] = (dots[series.dot % len(dots)], series.role)

    def _diagonal(self, grid: list[list[Cell]]) -> None:
        """The line on which value and place are the same."""
        draw_line(grid, (0, len(grid) - 1), (self._width - 1, 0), "faint")

    def _label(self, y: int, height: int, top: float) -> list[Cell]:
        values = {0: top, (height - 1) // 2: top * (1 - ((height - 1) // 2) / (height - 1)), height - 1: 0.0}
        if y not in values:
            return [(" " * (self._margin - 1) + glyphs().axis, "muted")]
        return [(pad(self._chart.value(values[y]), self._margin - 2, "right") + " " + glyphs().tick, "muted")]

    def _axis(self) -> Row:
        cursor = self._column(self.place.middle) if self.place else -1
        floor = glyphs().floor
        before, after = floor * max(cursor, 0), floor * (self._width - max(cursor, 0) - (cursor >= 0))
        cells: list[Cell] = [(" " * (self._margin - 1) + glyphs().corner + before, "muted")]
        if cursor >= 0:
            cells.append((glyphs().pointer, "key"))
        return (*cells, (after, "muted"))

    def _ticks(self) -> Row:
        """The places at both ends, and between them what they are."""
        chart, (low, high) = self._chart, self._range
        first, last = (
            (chart.tick(low + chart.inset), chart.tick(high - chart.inset)) if self._series else ("", "")
        )
        middle = fit(chart.across, max(self._width - len(first) - len(last) - 2, 0)).strip()
        room = self._width - len(first) - len(last)
        return ((" " * self._margin + first + middle.center(max(room, 0)) + last, "muted"),)


def draw_line(grid: list[list[Cell]], start: tuple[int, float], end: tuple[int, float], role: str) -> None:
    """Draw a line between two points, column and row, into the grid; in dots finer than cells where glyphs allow."""
    trail, fine = glyphs().trail, not glyphs().ascii
    across, down = DOTS if fine else (1, 1)
    # Whole dots from middle to middle: steps of floats could skip one.
    (x, y), (last_x, last_y) = (
        (column * across + across // 2, int(row * down + down / 2)) for column, row in (start, end)
    )
    wide, high = last_x - x, last_y - y
    steps = max(abs(wide), abs(high) if fine else 0, 1)
    for step in range(steps + 1):
        column, right = divmod(x + round(wide * step / steps), across)
        row, below = divmod(y + round(high * step / steps), down)
        text, before = grid[row][column]
        # Colours are by the cell: a line that crosses another has its cells to itself.
        same = before == role and text >= trail
        grid[row][column] = (dotted(text if same else trail, right, below) if fine else trail, role)


def _joined(cells: Sequence[Cell]) -> list[Cell]:
    return [
        ("".join(text for text, _ in run), role) for role, run in groupby(cells, key=lambda cell: cell[1])
    ]
