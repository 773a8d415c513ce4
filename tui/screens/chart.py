"""One chart on the whole screen: axes, values under a cursor, tasks or sessions over each other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.cells import cell_len
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical

from spectui.store.reading.reader import Reader
from spectui.tui.charts.points import CHARTS, TITLES, Chart, Source, SourceReader, points, together
from spectui.tui.feeds.base import CHART_SECONDS, IDLE_SECONDS, Feed
from spectui.tui.keys import named
from spectui.tui.memory import SHOWN_CHART
from spectui.tui.screens.base import FedScreen
from spectui.tui.terminal.cells import NOTHING, fit, fitting
from spectui.tui.terminal.textsafe import sanitize_line
from spectui.tui.terminal.theme import task_slots
from spectui.tui.widgets.key_bar import Hint, KeyBar
from spectui.tui.widgets.plot import Plot, Series
from spectui.tui.widgets.rows import Cell, Line, Row, Rows

HINTS: tuple[Hint, ...] = (
    ("esc", "back", "back"),
    ("?", "help", "app.help"),
    ("← →", "read", "read(1)"),
    ("h H", "chart", "chart(1)"),
    ("1-8", "show, hide", "all"),
    ("0", "all", "all"),
    ("y", "copy", "copy"),
    ("t", "theme", "app.next_theme"),
)

SESSION_SLOT = 4
"""The colour of the first session; those before it are the four tasks'."""


@dataclass(frozen=True)
class Read:
    """The sources of each session's tasks, and whether any of them may still grow."""

    sources: Mapping[int, Mapping[str, Source]]
    live: bool


class ChartFeed(Feed):
    """Reads the sources of some sessions while they change."""

    def __init__(self, database: Path, sessions: Iterable[int], post: Callable[[object], None]) -> None:
        super().__init__(database, post)
        self._readers = {number: SourceReader(number) for number in sessions}
        self._live = True
        self._read: Read | None = None

    def period(self) -> float:
        """At once at first, then as often as charts gain from it."""
        if self._read is None:
            return 0.0
        return CHART_SECONDS if self._live else IDLE_SECONDS

    def poll(self, reader: Reader, *, changed: bool) -> Iterable[object]:
        """The sources, when they are others than before."""
        if not changed and self._read is not None:
            return
        self._live = any(reader.session(number).live for number in self._readers)
        found = Read({number: each.read(reader) for number, each in self._readers.items()}, self._live)
        if found != self._read:
            self._read = found
            yield found


def task_series(chart: Chart, sources: Mapping[str, Source], tasks: Sequence[str]) -> list[Series]:
    """One series a task, or two where the chart has two sides."""
    slots = task_slots(tasks)
    return [
        series
        for task in tasks
        if task in sources
        for series in _series(chart, sanitize_line(task), f"task-{slots[task]}", sources[task], slots[task])
    ]


def session_series(
    chart: Chart, sources: Mapping[int, Mapping[str, Source]], names: Mapping[int, str], task: str | None
) -> list[Series]:
    """One series a session, of one task or, for None, of all together."""
    found = []
    for place, (number, by_task) in enumerate(sources.items()):
        chosen = by_task.values() if task is None else [s for name, s in by_task.items() if name == task]
        role = f"task-{SESSION_SLOT + place}"
        found += _series(chart, sanitize_line(names[number]), role, together(chosen), place)
    return found


def _series(chart: Chart, name: str, role: str, source: Source, dot: int) -> list[Series]:
    if chart != "entropy":
        return [Series(name, role, tuple(points(chart, source)), dot)]
    return [
        Series(
            f"{name}, {side}",
            f"{role}-name" if matched else role,
            tuple(points(chart, source, matched=matched)),
            dot + (not matched),
        )
        for side, matched in (("matched", True), ("not matched", False))
    ]


def reading_rows(plot: Plot, width: int) -> list[Row]:
    """What stands under the cursor, a line for each series."""
    if not plot.known:
        return [(("Loading the session…", "muted"),)]
    here = plot.place
    other: tuple[Cell, ...] = ((named(plot, "h"), "key"), (" another chart", "muted"))
    if here is None and plot.chart in ("entropy", "calibration"):
        return [
            (
                ("Nothing to read: the draft gives no probabilities, or no round has come yet.  ", "muted"),
                *other,
            )
        ]
    if here is None:
        return [(("Nothing to read: no round has come yet.  ", "muted"), *other)]
    rows: list[Row] = [((here.where, "strong"),)]
    longest = max((cell_len(series.name) for series, _ in plot.reading()), default=0) + 1
    names = min(longest, max(width // 3, 8))
    for series, point in plot.reading():
        says = (
            point.says.split("  ") if point else [NOTHING]
        )  # a narrow terminal has room for the first of them
        cells: list[Cell] = [
            (fit(series.name, names) + " ", series.role),
            (fitting(says, width - names - 1, "  "), "text"),
        ]
        rows.append(tuple(cells))
    return rows


class ChartScreen(FedScreen):
    """Closed by the keys that opened it, or escape."""

    CSS_PATH = "chart.tcss"
    BINDINGS = [  # noqa: RUF012
        Binding("h", "chart(1)", "Next chart"),
        Binding("H", "chart(-1)", "Chart before"),
        Binding("0", "all", "Show all tasks"),
        *(Binding(str(n), f"toggle_task({n})", f"Show or hide task {n}", show=False) for n in range(1, 9)),
        Binding("y", "copy", "Copy the values"),
        Binding("escape,q,z,enter", "back", "Back"),
    ]

    def __init__(self, database: Path, session_id: int, chart: Chart = "length") -> None:
        self._session = session_id
        super().__init__(database)
        self.chart: Chart = chart
        self._sources: Mapping[str, Source] = {}
        self._hidden: set[str] = set()

    def make_feed(self, post: Callable[[object], None]) -> ChartFeed:
        """A feed of one session's charts."""
        return ChartFeed(self.database, [self._session], post)

    def compose(self) -> ComposeResult:
        """What is shown, the chart, what the cursor reads, keys."""
        yield Line(id="head")
        with Vertical(id="chart-pane", classes="pane"):
            yield Plot(id="plot")
        yield Rows(id="reading")
        yield KeyBar(HINTS, id="keys")

    def on_mount(self) -> None:
        """Begin with an empty chart."""
        self.query_one(Plot).focus()
        self._draw()

    def on_resize(self) -> None:
        """The list of tasks gives way where there is no room for it."""
        self.call_after_refresh(self._draw)

    def take(self, item: object) -> None:
        """Draw what was read."""
        if isinstance(item, Read):
            self._sources = item.sources[self._session]
            self.query_one(Plot).known = True
            self._draw()

    @property
    def tasks(self) -> tuple[str, ...]:
        """In the session's order."""
        return tuple(self._sources)

    def _draw(self) -> None:
        shown = [task for task in self.tasks if task not in self._hidden]
        slots = task_slots(self.tasks)
        series = [
            s
            for s in task_series(self.chart, self._sources, self.tasks)
            if s.name.split(",")[0] in {sanitize_line(t) for t in shown}
        ]
        plot = self.query_one(Plot)
        plot.show(self.chart, series)
        pane = self.query_one("#chart-pane")
        if pane.border_title != TITLES[self.chart]:
            pane.border_title = TITLES[self.chart]
        cells: list[Cell] = [(" spectui  ", "accent")]
        for number, task in enumerate(self.tasks, 1):
            off = task in self._hidden
            cells += [
                (named(self, str(number)) + " ", "key"),
                (sanitize_line(task), "muted" if off else f"task-{slots[task]}-name"),
            ]
            cells.append((" off   " if off else "   ", "muted"))
        self.query_one("#head", Line).set_rows([tuple(cells)])
        self._read_values()

    @on(Plot.Moved)
    def _read_values(self) -> None:
        rows = reading_rows(self.query_one(Plot), self.size.width - 2)
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
        self.chart = CHARTS[(CHARTS.index(self.chart) + step) % len(CHARTS)]
        self.app.memory.remember(SHOWN_CHART, self.chart)
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
