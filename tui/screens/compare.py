"""Two to four sessions beside each other: charts over each other, the figures of `spectui compare`, outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from textual import events, on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.message import Message
from textual.worker import Worker, WorkerState

from spectui.store.errors import StoreError
from spectui.store.reading.reader import Reader
from spectui.tui.charts import chart_after, chart_named
from spectui.tui.charts.base import Source
from spectui.tui.feeds.charts import ChartFeed, Sources
from spectui.tui.memory import COMPARED_CHART
from spectui.tui.model.transcript import wrap
from spectui.tui.navigation.keymap import bindings, key_for
from spectui.tui.screens.base import FedScreen
from spectui.tui.terminal.cells import count, fit, fitting
from spectui.tui.terminal.textsafe import sanitize_line
from spectui.tui.widgets.key_bar import KeyBar
from spectui.tui.widgets.outputs import Answers, Outputs, read_answers
from spectui.tui.widgets.plot import Plot
from spectui.tui.widgets.rows import PANE_FRAME, TITLE_FRAME, Cell, Line, Row, Rows, row_width, set_title
from spectui.tui.widgets.series import SESSION_SLOT, session_series

if TYPE_CHECKING:
    from spectui.tui.report.grid import Grid

LETTERS = "ABCD"
PANES = ("chart", "figures", "outputs")
TALL = 34
"""Rows of the terminal from which all panes are in sight."""

Tables = list[tuple[str, list[str], "list[Grid]"]]
"""Title, words and tables of each session against the first."""


class Page(Rows, can_focus=True):
    """Lines that scroll both ways."""

    DEFAULT_CSS = "Page { overflow-x: auto; scrollbar-size: 1 1; scrollbar-gutter: stable; }"

    class Resized(Message):
        """The width has changed."""

    def on_resize(self) -> None:
        """Have the page written for the new width."""
        self.post_message(self.Resized())


class CompareScreen(FedScreen):
    """Sessions by id -> name; the others are compared with the first."""

    CSS_PATH = "compare.tcss"
    BINDINGS = bindings("compare")

    def __init__(self, database: Path, sessions: Mapping[int, str]) -> None:
        self.sessions = dict(sessions)
        super().__init__(database)
        self.chart = chart_named(None)
        self.of_task: str | None = None
        self.answers: list[Answers] | None = None
        self.shown = 0
        self.pane = 1
        self._alone = False
        self._sources: Mapping[int, Mapping[str, Source]] = {}
        self._tables: Tables = []
        self._lines: list[str] = []

    def make_feed(self, post: Callable[[object], None]) -> ChartFeed:
        """A feed of the charts of all of them."""
        return ChartFeed(self.database, self.sessions, post)

    def compose(self) -> ComposeResult:
        """The names of the sessions, three panes, keys."""
        yield Line(id="head")
        with Vertical(id="chart", classes="pane"):
            yield Plot(id="plot")
            yield Rows(id="reading")
        with Vertical(id="figures", classes="pane"):
            yield Page(id="figures-view")
        with Vertical(id="outputs", classes="pane"):
            yield Outputs(id="outputs-view")
        yield KeyBar(id="keys")

    def on_mount(self) -> None:
        """Begin to read the sessions."""
        self.chart = chart_named(self.app.memory.get(COMPARED_CHART, str))
        self.query_one("#figures").border_title = "figures"
        self.query_one("#outputs").border_title = "outputs"
        cells: list[Cell] = [(" compare  ", "accent")]
        for text, role in self._names():
            cells += [(text, role), ("   ", "text")]
        self.query_one("#head", Line).set_rows([tuple(cells)])
        self.action_again()
        self.query_one(Plot).focus()
        self._arrange()

    def on_resize(self, event: events.Resize) -> None:
        """One pane at a time where there is no room for three."""
        self.set_class(event.size.height < TALL, "-small")
        self._arrange()
        self.call_after_refresh(self._redraw)

    def _redraw(self) -> None:
        """Draw the parts that depend on the width."""
        self._read_values()
        if self.answers is not None:
            self._show_answers()

    def _names(self) -> list[Cell]:
        return [
            (f"{LETTERS[place]} {fit(sanitize_line(name), 24).rstrip()}", f"task-{SESSION_SLOT + place}-name")
            for place, name in enumerate(self.sessions.values())
        ]

    # Charts.

    def take(self, item: object) -> None:
        """Draw what was read."""
        if isinstance(item, Sources):
            self._sources = item.by_session
            self.query_one(Plot).known = True
            self._draw_chart()

    def _draw_chart(self) -> None:
        names = {number: f"{LETTERS[i]} {name}" for i, (number, name) in enumerate(self.sessions.items())}
        self.query_one(Plot).show(self.chart, session_series(self.chart, self._sources, names, self.of_task))
        title = f"{self.chart.title} · {sanitize_line(self.of_task) if self.of_task else 'all tasks'}"
        if self.query_one("#chart").border_title != title:
            self.query_one("#chart").border_title = title

    @on(Plot.Moved)
    def _read_values(self) -> None:
        rows = self.query_one(Plot).reading_rows(self.size.width - PANE_FRAME)
        view = self.query_one("#reading", Rows)
        if view.styles.height is None or view.styles.height.value != len(rows):
            view.styles.height = len(rows)
        view.set_rows(rows)

    def action_chart(self, step: int) -> None:
        """Draw another chart."""
        self.chart = chart_after(self.chart, step)
        self.app.memory.remember(COMPARED_CHART, self.chart.name)
        self._draw_chart()

    def action_task(self) -> None:
        """Chart all tasks together, then each alone."""
        tasks = [None, *dict.fromkeys(task for sources in self._sources.values() for task in sources)]
        self.of_task = tasks[(tasks.index(self.of_task) + 1) % len(tasks)] if self.of_task in tasks else None
        self._draw_chart()

    def action_read(self, by: int) -> None:
        """Move the cursor of the chart, or scroll the figures sideways when those are looked at."""
        page = self.query_one(Page)
        if page.has_focus:
            page.scroll_to(x=page.scroll_x + 8 * by, animate=False)
        else:
            self.query_one(Plot).action_step(by)

    # Figures and outputs.

    def action_again(self) -> None:
        """Work the figures out from what is recorded now."""
        self._say("Reading the sessions …")
        for name, work in (("figures", self._figures), ("answers", self._answers)):
            self.run_worker(work, name=name, group=name, thread=True, exclusive=True, exit_on_error=False)

    def _figures(self) -> Tables:
        from spectui.store.analysis.compare import compare_sessions
        from spectui.tui.report.contrasts import contrast_subject, contrast_tables

        first, *others = self.sessions
        tables: Tables = []
        with Reader(self.database) as reader:
            for other in others:
                comparison = compare_sessions(reader, first, other)
                lines = [sanitize_line(line) for line in contrast_subject(comparison)]
                lines += [sanitize_line(f"{what}: {why}") for what, why in comparison.notes.items()]
                title = f"{self.sessions[first]} and {self.sessions[other]}"
                tables.append((title, lines, contrast_tables(comparison)))
        return tables

    def _answers(self) -> list[Answers]:
        with Reader(self.database) as reader:
            return read_answers(reader, list(self.sessions))

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """Show what a thread has worked out, or its error."""
        if event.state == WorkerState.ERROR:
            error = event.worker.error
            words = str(error) if isinstance(error, StoreError) else f"{type(error).__name__}: {error}"
            self._say(f"✗ {sanitize_line(words)}  ({key_for(self, 'again')} tries again)")
        elif event.state == WorkerState.SUCCESS and event.worker.group == "figures":
            self._take_tables(event.worker.result or [])
        elif event.state == WorkerState.SUCCESS and event.worker.group == "answers":
            self.answers = event.worker.result or []
            self._show_answers()

    def _take_tables(self, tables: Tables) -> None:
        from spectui.tui.report.text import grid_lines

        self._tables = tables
        self._lines = [
            line for title, words, grids in tables for line in (title, *words, "", *grid_lines(grids))
        ]
        self._show_figures()

    @on(Page.Resized)
    def _show_figures(self) -> None:
        """Draw the figures for the width there is: tables that are wider come in parts."""
        from spectui.tui.widgets.report_view import table_rows

        page = self.query_one(Page)
        if not self._tables or not page.room:
            return
        rows: list[Row] = []
        for title, words, grids in self._tables:
            if len(self._tables) > 1:
                rows.append(((sanitize_line(title), "strong"),))
            rows += [((line, "text"),) for sentence in words for line in wrap(sentence, page.room)]
            for grid in grids:
                rows += [(), *table_rows(grid, {}, page.room)]
        widest = max(map(row_width, rows), default=0)
        page.set_rows(rows, widest if widest > page.room else 0)

    def _show_answers(self) -> None:
        answers = self.answers or []
        pane, view = self.query_one("#outputs"), self.query_one(Outputs)
        if not answers:
            set_title(
                pane, "outputs · the sessions have no prompt in common; compare runs of the same prompts"
            )
            view.show(None, [])
            return
        answer = answers[self.shown]
        part = answer.differs_at
        known = sum(output is not None for output in answer.outputs)
        says = "the same" if part is None else f"differ after {count(part)} characters"
        says = says if known > 1 else "only one output so far"
        differing = sum(a.differs_at is not None for a in answers)
        place = f"prompt {count(self.shown + 1)} of {count(len(answers))}"
        title = fitting([sanitize_line(answer.task), place, says], self.size.width - TITLE_FRAME)
        set_title(pane, title)
        pane.border_subtitle = f"{count(differing)} of {count(len(answers))} differ"
        view.show(answer, self._names())

    def action_prompt(self, step: int) -> None:
        """Show the prompt after this one, or before it."""
        if self.answers and 0 <= self.shown + step < len(self.answers):
            self.shown += step
            self._show_answers()

    def action_difference(self, step: int) -> None:
        """Show the next prompt, or the one before, whose outputs differ."""
        places = range(len(self.answers or ()))
        ahead = [i for i in places if (i - self.shown) * step > 0]
        for place in sorted(ahead, key=lambda i: abs(i - self.shown)):
            if (self.answers or [])[place].differs_at is not None:
                self.shown = place
                self._show_answers()
                return
        self.inform("No more outputs that differ.", 3)

    def _say(self, words: str) -> None:
        self.query_one(Page).set_rows([((words, "muted"),)])

    # Panes.

    def action_pane(self, pane: int) -> None:
        """Go to a pane; where all are in sight, its number shows it alone, then all again."""
        again = pane == self.pane and self.query_one(f"#{PANES[pane - 1]}").has_focus_within
        self._alone = not self._alone if again else False
        self.pane = pane
        self._arrange()
        views: Sequence[str] = ("#plot", "#figures-view", "#outputs-view")
        self.query_one(views[pane - 1]).focus()

    def action_next_pane(self) -> None:
        """Go to the pane after this one."""
        self.action_pane(self.pane % len(PANES) + 1)

    def _arrange(self) -> None:
        self.set_class(self.has_class("-small") or self._alone, "-single")
        for place in range(1, len(PANES) + 1):
            self.set_class(place == self.pane, f"-pane-{place}")

    def action_copy(self) -> None:
        """Copy the figures as text."""
        self.copy_text("\n".join(self._lines))

    def action_back(self) -> None:
        """Show all panes again where one is alone, else go back to the list."""
        if self._alone:
            self._alone = False
            self._arrange()
        else:
            self.dismiss()

    def action_leave(self) -> None:
        """Leave by way of the list."""
        self.dismiss()
