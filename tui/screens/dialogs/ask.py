"""A dialog of one line: a session's name, its tags, a note, a place to go to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input
from textual.worker import Worker, WorkerState

from spectui.decoding.errors import DecodingError
from spectui.store.errors import StoreError
from spectui.store.paths import expanded
from spectui.tui.model.transcript import wrap
from spectui.tui.navigation.keymap import bindings, key_for
from spectui.tui.terminal.textsafe import sanitize_line
from spectui.tui.widgets.inputs import SteadyInput
from spectui.tui.widgets.rows import Line, Row, set_title


def home_words(path: Path) -> str:
    """A path as people write it: ``~/runs/a.csv``."""
    home = str(Path.home())
    return "~" + str(path).removeprefix(home) if str(path).startswith(home + "/") else str(path)


class AskScreen(ModalScreen[bool]):
    """A dialog whose result is True once the text is saved, False when it is cancelled."""

    CSS_PATH = "ask.tcss"
    BINDINGS = bindings("ask")

    def __init__(
        self,
        title: str,
        value: str,
        hint: str,
        save: Callable[[str], None],
        *,
        does: str = "saves",
        writes: bool = False,
    ) -> None:
        """`writes`: the text is a place in the file system, and the folder it is in is shown."""
        super().__init__()
        self._title = title
        self._value = value
        self._hint = hint
        self._save = save
        self._does = does
        self._writes = writes
        self._note = (hint, "muted")

    def compose(self) -> ComposeResult:
        """The line, and room for a note below it."""
        with Vertical(id="ask-box"):
            yield SteadyInput(self._value, id="answer")
            yield Line(id="ask-note")
            if self._writes:
                yield Line(id="ask-place")

    def on_mount(self) -> None:
        """Name the box and its keys."""
        box = self.query_one("#ask-box")
        set_title(box, self._title)
        box.border_subtitle = f"enter {self._does}  {key_for(self, 'cancel')} cancels"
        self._say(self._hint, "muted")

    def on_resize(self) -> None:
        """Write the note, and the place of the file, for this width."""
        self._say(*self._note)
        self._show_place(self.query_one("#answer", Input).value)

    @on(Input.Changed)
    def _typed(self, message: Input.Changed) -> None:
        self._show_place(message.value)

    def _show_place(self, text: str) -> None:
        for line in self.query("#ask-place").results(Line):
            place = sanitize_line(f"Writes {home_words(Path.cwd() / expanded(text.strip()))}")
            width = max(line.size.width, 20)
            # A path has no blanks to break at.
            rows = [place[start : start + width] for start in range(0, len(place), width)]
            line.styles.height = len(rows)
            line.set_rows([((row, "text"),) for row in rows])

    @on(Input.Submitted)
    def _submitted(self, message: Input.Submitted) -> None:
        text = message.value
        self.run_worker(
            lambda: self._save(text),
            name="save",
            group="save",
            thread=True,
            exit_on_error=False,
            exclusive=True,
        )

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """Close once it is saved, or show the error."""
        if event.state == WorkerState.SUCCESS:
            self.dismiss(True)
        elif event.state == WorkerState.ERROR:
            error = event.worker.error
            words = (
                str(error)
                if isinstance(error, StoreError | DecodingError | ValueError)
                else f"{type(error).__name__}: {error}"
            )
            self._say(f"✗ {words}", "bad")

    def _say(self, words: str, role: str) -> None:
        self._note = (words, role)
        note = self.query_one("#ask-note", Line)
        rows: list[Row] = [((line, role),) for line in wrap(sanitize_line(words), max(note.size.width, 20))]
        note.styles.height = len(rows)
        note.set_rows(rows)

    def action_cancel(self) -> None:
        """Close without saving."""
        self.dismiss(False)
