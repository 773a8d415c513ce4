"""One chart on the whole screen: axes, values under a cursor, tasks or sessions over each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical

from spectui.tui.charts import all_charts, chart_after
from spectui.tui.charts.base import Chart, Source
from spectui.tui.feeds.charts import ChartFeed, Sources
from spectui.tui.memory import SHOWN_CHART
from spectui.tui.navigation.keymap import bindings, key_for
from spectui.tui.screens.base import FedScreen
from spectui.tui.terminal.textsafe import sanitize_line
from spectui.tui.terminal.theme import task_slots
from spectui.tui.widgets.key_bar import KeyBar
from spectui.tui.widgets.plot import Plot
from spectui.tui.widgets.rows import Cell, Line, Rows
from spectui.tui.widgets.series import task_series


class ChartScreen(FedScreen):
    """A chart of one session on the whole screen; the keys that open it close it."""

    CSS_PATH = "chart.tcss"
    BINDINGS = bindings("chart")

    def __init__(self, database: Path, session_id: int, chart: Chart | None = None) -> None:
        self._session = session_id
        super().__init__(database)
        self.chart = chart or all_charts()[0]
        self._sources: Mapping[str, Source] = {}
        self._hidden: set[str] = set()

    def make_feed(self, post: Callable[[object], None]) -> ChartFeed:
        """A feed of one session's charts."""
        return ChartFeed(self.database, [self._session], post)

    def compose(self) -> ComposeResult:
        """Header, chart, the values under the cursor, keys."""
        yield Line(id="head")
        with Vertical(id="chart-pane", classes="pane"):
            yield Plot(id="plot")
        yield Rows(id="reading")
        yield KeyBar(id="keys")

    def on_mount(self) -> None:
        """Begin with an empty chart."""
        self.query_one(Plot).focus()
        self._draw()

    def on_resize(self) -> None:
        """Draw for the new size."""
        self.call_after_refresh(self._draw)

    def take(self, item: object) -> None:
        """Draw what was read."""
        if isinstance(item, Sources):
            self._sources = item.by_session[self._session]
            self.query_one(Plot).known = True
            self._draw()

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks, in the session's order."""
        return tuple(self._sources)

    def _draw(self) -> None:
        slots = task_slots(self.tasks)
        self.query_one(Plot).show(self.chart, task_series(self.chart, self._sources, self._hidden))
        pane = self.query_one("#chart-pane")
        if pane.border_title != self.chart.title:
            pane.border_title = self.chart.title
        cells: list[Cell] = [(" spectui  ", "accent")]
        for number, task in enumerate(self.tasks, 1):
            off = task in self._hidden
            cells += [
                (key_for(self, f"toggle_task_{number}") + " ", "key"),
                (sanitize_line(task), "muted" if off else f"task-{slots[task]}-name"),
            ]
            cells.append((" off   " if off else "   ", "muted"))
        self.query_one("#head", Line).set_rows([tuple(cells)])
        self._read_values()

    @on(Plot.Moved)
    def _read_values(self) -> None:
        rows = self.query_one(Plot).reading_rows(self.size.width - 2)
        view = self.query_one("#reading", Rows)
        height = max(min(len(rows), max(self.size.height // 3, 2)), 2)
        if view.styles.height is None or view.styles.height.value != height:
            view.styles.height = height
        view.set_rows([((" ", "text"), *row) for row in rows])

    def action_read(self, by: int) -> None:
        """Move the cursor."""
        self.query_one(Plot).action_step(by)

    def action_chart(self, step: int) -> None:
        """Draw another chart."""
        self.chart = chart_after(self.chart, step)
        self.app.memory.remember(SHOWN_CHART, self.chart.name)
        self._draw()

    def action_toggle_task(self, number: int) -> None:
        """Show a task, or hide it."""
        if number <= len(self.tasks):
            self._hidden ^= {self.tasks[number - 1]}
            self._draw()

    def action_all(self) -> None:
        """Show every task."""
        self._hidden.clear()
        self._draw()

    def action_copy(self) -> None:
        """Copy every value of the chart, a line each."""
        plot = self.query_one(Plot)
        lines = [
            f"{series.name}\t{point.where}\t{point.says}"
            for series, _ in plot.reading()
            for point in series.points
        ]
        self.copy_text("\n".join(lines))

    def action_back(self) -> None:
        """Go back to where this was opened."""
        self.dismiss()

    def action_leave(self) -> None:
        """Leave the dashboard, by way of where this was opened."""
        self.action_back()
