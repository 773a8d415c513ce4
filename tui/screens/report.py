"""The report on a session: the page of `spectui report` in the dashboard.

Worked out in a thread from what is recorded now; for a run, `r` works it out again.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.message import Message
from textual.worker import Worker, WorkerState, get_current_worker

from spectui.store.errors import StoreError
from spectui.store.reading.reader import Reader
from spectui.store.rows import SessionSummary
from spectui.tui.navigation.keymap import bindings
from spectui.tui.report.files import save_as
from spectui.tui.report.text import report_lines
from spectui.tui.screens.base import BaseScreen
from spectui.tui.screens.dialogs.ask import AskScreen
from spectui.tui.terminal.cells import bar, count, fit
from spectui.tui.terminal.textsafe import sanitize_line
from spectui.tui.widgets.key_bar import KeyBar
from spectui.tui.widgets.report_view import ReportView
from spectui.tui.widgets.rows import Line, Row

if TYPE_CHECKING:
    from spectui.store.analysis.report import Report

BAR = 30


class Gone(Exception):  # noqa: N818
    """The screen has been closed: nobody waits for the report."""


class Progressed(Message):
    """A part of the report is done."""

    def __init__(self, what: str, done: int, total: int) -> None:
        super().__init__()
        self.what = what
        self.done = done
        self.total = total

    def can_replace(self, message: Message) -> bool:
        """The newest is enough."""
        return isinstance(message, Progressed)


class ReportScreen(BaseScreen):
    """One session's report, on a page that scrolls."""

    CSS_PATH = "report.tcss"
    BINDINGS = bindings("report")

    def __init__(self, database: Path, session_id: int) -> None:
        super().__init__(database)
        self.session_id = session_id
        self.report: Report | None = None
        self._summary: SessionSummary | None = None

    def compose(self) -> ComposeResult:
        """Header, page, keys."""
        yield Line(id="head")
        with Vertical(id="page", classes="pane"):
            yield ReportView(id="page-view")
            yield Line(id="waiting")
        yield KeyBar(id="keys")

    def on_mount(self) -> None:
        """Begin to work it out."""
        self.query_one("#page").border_title = "report"
        self.query_one(ReportView).focus()
        self._draw_head()
        self.action_again()

    def action_again(self) -> None:
        """Work the report out from what is recorded now; one that is on its way is given up."""
        self.set_class(self.report is None, "-waiting")
        self._say((("Reading the session …", "muted"),))
        self.run_worker(
            self._work, name="report", group="report", thread=True, exclusive=True, exit_on_error=False
        )

    def _work(self) -> Report:
        from spectui.store.analysis.report import build_report

        worker = get_current_worker()

        def progress(what: str, done: int, total: int) -> None:
            if worker.is_cancelled:
                raise Gone
            self.post_message(Progressed(what, done, total))

        with Reader(self.database) as reader:
            return build_report(reader, self.session_id, progress)

    def on_progressed(self, message: Progressed) -> None:
        """Show how much of the report is done."""
        if self.report is not None:
            return
        share = message.done / max(message.total, 1)
        number = f"  {count(message.done)} of {count(message.total)}" if message.total > 100 else ""
        self._say(((f"{message.what}  ".ljust(16), "muted"), (bar(share, BAR), "accent"), (number, "muted")))

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """Show the report, or its error."""
        if event.worker.group != "report":
            return
        if event.state == WorkerState.SUCCESS and event.worker.result is not None:
            again = self.report is not None
            self.report = event.worker.result
            self._summary = self.report.session
            self.remove_class("-waiting")
            self.query_one(ReportView).show(self.report)
            self._draw_head()
            if again:
                self.inform("Worked out again.", 2)
        elif event.state == WorkerState.ERROR and not isinstance(event.worker.error, Gone):
            error = event.worker.error
            words = str(error) if isinstance(error, StoreError) else f"{type(error).__name__}: {error}"
            self._say(((f"✗ {sanitize_line(words)}", "error"),))
            self.add_class("-waiting")

    @on(ReportView.Drawn)
    def _page_drawn(self, message: ReportView.Drawn) -> None:
        self.query_one("#page").border_subtitle = "← → for what is wider" if message.wide else ""

    def _say(self, row: Row) -> None:
        self.query_one("#waiting", Line).set_rows([row])

    def _draw_head(self) -> None:
        if self._summary is None:
            self.set_head(("report", "muted"))
        else:
            name = fit(sanitize_line(self._summary.name), 60).rstrip()
            self.set_head((name, "strong"), (f"  {self._summary.status}", "muted"))

    def action_section(self, step: int) -> None:
        """Go to the next part of the page, or to the one before."""
        self.query_one(ReportView).go(step)

    def action_end(self) -> None:
        """Go to the end of the page."""
        self.query_one(ReportView).scroll_end(animate=False)

    def action_copy(self) -> None:
        """Copy what `spectui report` prints."""
        if self.report is not None:
            self.copy_text("\n".join(report_lines(self.report)) + "\n")

    def action_save(self) -> None:
        """Ask for a place and write the report to it."""
        report = self.report
        if report is None:
            return
        written: list[Path] = []

        def save(text: str) -> None:
            written.extend(save_as(Path(text.strip()), report))

        def answered(saved: bool | None) -> None:
            if saved:
                more = f" and {len(written) - 1} more" if len(written) > 1 else ""
                self.inform(f"Wrote {written[0]}{more}.")

        hint = "NAME.html is one page, NAME.svg the charts, NAME a folder of CSV files."
        place = f"{sanitize_line(report.session.name).replace('/', '-')}.html"
        self.app.push_screen(AskScreen("write the report", place, hint, save, writes=True), answered)

    def running(self) -> Iterable[SessionSummary | None]:
        """The session reported on."""
        return [self._summary]
