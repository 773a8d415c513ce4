"""A screen with one page about a session that is worked out in a thread: the report, the advice."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Generic, TypeVar

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.message import Message
from textual.worker import Worker, WorkerState, get_current_worker

from spectui.decoding.errors import DecodingError
from spectui.store.errors import StoreError
from spectui.store.reading.reader import Reader
from spectui.store.rows import SessionSummary
from spectui.tui.screens.base import BaseScreen
from spectui.tui.screens.dialogs.ask import AskScreen
from spectui.tui.terminal.cells import bar, count, fit
from spectui.tui.terminal.textsafe import sanitize_line
from spectui.tui.widgets.key_bar import KeyBar
from spectui.tui.widgets.rows import Line, Row, Rows

Result = TypeVar("Result")
Progress = Callable[[str, float, float], None]
"""Told what is being done, how much of it is done, and how much there is."""

BAR = 30
"""Cells of the bar of progress."""


class Gone(Exception):  # noqa: N818
    """The screen has been closed: nobody waits for the page."""


class Progressed(Message):
    """A part of the page is worked out."""

    def __init__(self, what: str, done: float, total: float) -> None:
        super().__init__()
        self.what = what
        self.done = done
        self.total = total

    def can_replace(self, message: Message) -> bool:
        """The newest is enough."""
        return isinstance(message, Progressed)


class PageScreen(BaseScreen, Generic[Result]):
    """The screen. A result is worked out from what is recorded now; for a run, `r` works it out again."""

    CSS_PATH = "page.tcss"
    PAGE = ""
    """The title of the page."""

    def __init__(self, database: Path, session_id: int) -> None:
        super().__init__(database)
        self.session_id = session_id
        self.result: Result | None = None

    def view(self) -> Rows:
        """The widget that shows a result."""
        raise NotImplementedError

    def work(self, reader: Reader, progress: Progress) -> Result:
        """Work the result out, in a thread."""
        raise NotImplementedError

    def show(self, result: Result) -> None:
        """Draw a result."""
        raise NotImplementedError

    def summary_of(self, result: Result) -> SessionSummary:
        """The session that a result is about."""
        raise NotImplementedError

    def text(self, result: Result) -> str:
        """A result as plain text, to be copied."""
        raise NotImplementedError

    def compose(self) -> ComposeResult:
        """Header, page, keys."""
        yield Line(id="head")
        with Vertical(id="page", classes="pane"):
            yield self.view()
            yield Line(id="waiting")
        yield KeyBar(id="keys")

    def on_mount(self) -> None:
        """Begin to work it out."""
        self.query_one("#page").border_title = self.PAGE
        self.query_one("#page-view").focus()
        self.set_head((self.PAGE, "muted"))
        self.action_again()

    def action_again(self) -> None:
        """Work the page out from what is recorded now; a computation under way is given up."""
        self.set_class(self.result is None, "-waiting")
        self._say([(("Reading the session…", "muted"),)])
        self.run_worker(
            self._work, name="page", group="page", thread=True, exclusive=True, exit_on_error=False
        )

    def _work(self) -> Result:
        worker = get_current_worker()

        def progress(what: str, done: float, total: float) -> None:
            if worker.is_cancelled:
                raise Gone
            self.post_message(Progressed(what, done, total))

        with Reader(self.database) as reader:
            return self.work(reader, progress)

    def on_progressed(self, message: Progressed) -> None:
        """Show how much is done."""
        if self.result is None:
            part = message.done / max(message.total, 1)
            many = message.total > 100
            number = f"  {count(round(message.done))} of {count(round(message.total))}" if many else ""
            what = f"{message.what}  ".ljust(16)
            self._say([((what, "muted"), (bar(part, BAR), "accent"), (number, "muted"))])

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """Show the page, or the reason that there is none."""
        if event.worker.group != "page":
            return
        if event.state == WorkerState.SUCCESS and event.worker.result is not None:
            if self.result is not None:
                self.inform("Worked out again.", 2)
            self.result = event.worker.result
            self.remove_class("-waiting")
            self.show(self.result)
            summary = self.summary_of(self.result)
            name = fit(sanitize_line(summary.name), 60).rstrip()
            self.set_head((name, "strong"), (f"  {summary.status}", "muted"))
        elif event.state == WorkerState.ERROR and not isinstance(event.worker.error, Gone):
            error = event.worker.error
            known = isinstance(error, StoreError | DecodingError)
            words = str(error) if known else f"✗ {type(error).__name__}: {error}"
            width = max(self.size.width - 8, 20)
            role = "warning" if known else "error"
            self._say([((line, role),) for line in textwrap.wrap(sanitize_line(words), width)])
            self.add_class("-waiting")

    def _say(self, rows: list[Row]) -> None:
        self.query_one("#waiting", Line).set_rows(rows)

    def action_copy(self) -> None:
        """Copy the page as text."""
        if self.result is not None:
            self.copy_text(self.text(self.result))

    def ask_for_place(self, title: str, ending: str, hint: str, save: Callable[[Path], str]) -> None:
        """Ask for a place to write to, the session's name with an ending at first; `save` returns a notice."""
        if self.result is None:
            return
        notices: list[str] = []
        place = sanitize_line(self.summary_of(self.result).name).replace("/", "-") + ending
        self.app.push_screen(
            AskScreen(title, place, hint, lambda text: notices.append(save(Path(text.strip()))), writes=True),
            lambda saved: self.inform(notices[-1]) if saved else None,
        )

    def running(self) -> Iterable[SessionSummary | None]:
        """The session of the page."""
        return [self.summary_of(self.result) if self.result else None]
