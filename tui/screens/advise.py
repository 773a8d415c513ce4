"""The tree that pays for each task: the page of `spectui advise` in the dashboard, worked out in a thread."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.message import Message
from textual.worker import Worker, WorkerState, get_current_worker

from spectui.decoding.errors import DecodingError
from spectui.store.analysis.spending import Spending, spending
from spectui.store.errors import StoreError
from spectui.store.paths import expanded
from spectui.store.reading.choices import TreeChoice, choices, latest_choices
from spectui.store.reading.reader import Reader
from spectui.store.rows import SessionSummary
from spectui.tui.navigation.keymap import bindings
from spectui.tui.screens.base import BaseScreen
from spectui.tui.screens.dialogs.ask import AskScreen
from spectui.tui.terminal.cells import bar, fit
from spectui.tui.terminal.textsafe import sanitize_line
from spectui.tui.widgets.key_bar import KeyBar
from spectui.tui.widgets.rows import Line, Row, Rows, row_width

if TYPE_CHECKING:
    from spectui.decoding.trees.advise.advice import Advice

BAR = 30
TEXT = 110
"""Cells that sentences are folded to at most."""


class Gone(Exception):  # noqa: N818
    """The screen has been closed: nobody waits for the advice."""


class Weighed(Message):
    """A share of the trees has been weighed."""

    def __init__(self, done: float, total: float) -> None:
        super().__init__()
        self.share = done / max(total, 1.0)

    def can_replace(self, message: Message) -> bool:
        """The newest is enough."""
        return isinstance(message, Weighed)


@dataclass(frozen=True)
class Page:
    """The advice for a session, and its trees and spending so far."""

    advice: Advice
    spent: list[Spending]
    latest_choices: dict[str, TreeChoice]
    """Of a run with a tree for each task: the tree that each task has now."""


class AdviceView(Rows, can_focus=True):
    """The page; a table that is wider scrolls sideways."""

    DEFAULT_CSS = "AdviceView { overflow-x: auto; scrollbar-size: 0 1; scrollbar-gutter: stable; }"
    BINDINGS = bindings("advice_view")

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._page: Page | None = None

    def show(self, page: Page) -> None:
        """Show this advice."""
        self._page = page
        self.on_resize()

    def on_resize(self) -> None:
        """Draw for the new width."""
        if self._page is not None and self.room:
            rows = page_rows(self._page, self.room)
            widest = max(map(row_width, rows), default=0)
            self.set_rows(rows, widest if widest > self.room else 0)


def page_rows(page: Page, width: int) -> list[Row]:
    """The verdict, what each task has now and why, the tables."""
    from spectui.decoding.trees.advise.output import undecided, verdict
    from spectui.tui.report.advice import advice_subject, advice_tables, beyond
    from spectui.tui.report.spending import spending_grid
    from spectui.tui.widgets.report_view import table_rows

    advice = page.advice
    fold = max(min(width, TEXT), 20)
    rows: list[Row] = [
        ((line, "strong"),) for line in textwrap.wrap(sanitize_line(advice_subject(advice)), fold)
    ]
    rows.append(())
    for words in (verdict(advice), *undecided(advice), *beyond(advice)):
        rows += [((line, "text"),) for line in textwrap.wrap(sanitize_line(words), fold)]
    for task, choice in page.latest_choices.items():
        words = sanitize_line(f"{task} has {choice.tree} ({choice.kind}): {choice.reason}")
        rows += [((line, "muted"),) for line in textwrap.wrap(words, fold)]
    for grid in (*advice_tables(advice), spending_grid(advice.summary, page.spent)):
        rows += [(), *table_rows(grid, {}, width)]
    return rows


class AdviseScreen(BaseScreen):
    """The advice for one session."""

    CSS_PATH = "advise.tcss"
    BINDINGS = bindings("advise")

    def __init__(self, database: Path, session_id: int) -> None:
        super().__init__(database)
        self.session_id = session_id
        self.page: Page | None = None

    def compose(self) -> ComposeResult:
        """Header, page, keys."""
        yield Line(id="head")
        with Vertical(id="page", classes="pane"):
            yield AdviceView(id="page-view")
            yield Line(id="waiting")
        yield KeyBar(id="keys")

    def on_mount(self) -> None:
        """Begin to weigh."""
        self.query_one("#page").border_title = "which tree pays"
        self.query_one(AdviceView).focus()
        self.set_head(("advise", "muted"))
        self.action_again()

    def action_again(self) -> None:
        """Weigh the trees on what is recorded now; a computation under way is given up."""
        self.set_class(self.page is None, "-waiting")
        self._say((("Reading the session…", "muted"),))
        self.run_worker(
            self._work, name="advise", group="advise", thread=True, exclusive=True, exit_on_error=False
        )

    def _work(self) -> Page:
        from spectui.decoding.trees.advise.advice import advise

        worker = get_current_worker()

        def report(done: float, total: float) -> None:
            if worker.is_cancelled:
                raise Gone
            self.post_message(Weighed(done, total))

        with Reader(self.database) as reader:
            advice = advise(reader, self.session_id, report)
            spent = spending(advice.summary, reader.figures(self.session_id))
            return Page(advice, spent, latest_choices(choices(reader, self.session_id)))

    def on_weighed(self, message: Weighed) -> None:
        """Show how many of the trees are weighed."""
        if self.page is None:
            self._say((("weighing trees  ", "muted"), (bar(message.share, BAR), "accent")))

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """Show the advice, or the reason that there is none."""
        if event.worker.group != "advise":
            return
        if event.state == WorkerState.SUCCESS and event.worker.result is not None:
            self.page = event.worker.result
            self.remove_class("-waiting")
            self.query_one(AdviceView).show(self.page)
            summary = self.page.advice.summary
            name = fit(sanitize_line(summary.name), 60).rstrip()
            self.set_head((name, "strong"), (f"  {summary.status}", "muted"))
        elif event.state == WorkerState.ERROR and not isinstance(event.worker.error, Gone):
            error = event.worker.error
            known = isinstance(error, StoreError | DecodingError)
            words = str(error) if known else f"{type(error).__name__}: {error}"
            width = max(self.size.width - 8, 20)
            rows: list[Row] = [
                ((line, "warning" if known else "error"),)
                for line in textwrap.wrap(sanitize_line(words), width)
            ]
            self.query_one("#waiting", Line).set_rows(rows)
            self.add_class("-waiting")

    def _say(self, row: Row) -> None:
        self.query_one("#waiting", Line).set_rows([row])

    def action_copy(self) -> None:
        """Copy the page as text."""
        if self.page is not None:
            text = "\n".join("".join(cell for cell, _ in row).rstrip() for row in page_rows(self.page, 200))
            self.copy_text(text + "\n")

    def action_save(self) -> None:
        """Ask for a place and write the plan file."""
        page = self.page
        if page is None:
            return

        def save(text: str) -> None:
            from spectui.decoding.trees.advise.output import plan_of
            from spectui.decoding.trees.plan_file import save_plan

            save_plan(plan_of(page.advice), expanded(text.strip()), force=None)

        def answered(saved: bool | None) -> None:
            if saved:
                self.inform("Written; use it with: spectui run --tree auto:FILE")

        place = f"{sanitize_line(page.advice.summary.name).replace('/', '-')}-trees.json"
        self.app.push_screen(
            AskScreen("write a plan file", place, "For spectui run --tree auto:FILE", save, writes=True),
            answered,
        )

    def running(self) -> Iterable[SessionSummary | None]:
        """The session weighed."""
        return [self.page.advice.summary if self.page else None]
