"""The question when the dashboard is left: do its runs go on?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button

from spectui.tui.navigation.keymap import bindings
from spectui.tui.terminal.cells import fit
from spectui.tui.terminal.textsafe import sanitize_line
from spectui.tui.widgets.rows import Line, Row

Choice = Literal["keep", "stop"]


class LeaveScreen(ModalScreen[Choice | None]):
    """A dialog whose result is "keep", "stop", or None to stay."""

    CSS_PATH = "leave.tcss"
    BINDINGS = bindings("leave")

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self._names = tuple(names)

    def compose(self) -> ComposeResult:
        """The question and its three answers."""
        with Vertical(id="leave-box"):
            yield Line(id="question")
            with Horizontal(id="leave-buttons"):
                yield Button("Keep running", id="keep", variant="primary", compact=True)
                yield Button("Stop run", id="stop", compact=True)
                yield Button("Cancel", id="cancel", compact=True)

    def on_mount(self) -> None:
        """Write the question."""
        box = self.query_one("#leave-box")
        box.border_title = "leave"
        one = len(self._names) == 1
        it = "it" if one else "them"
        what = f"{fit(self._named(), 50).rstrip()} {'is' if one else 'are'} still running."
        rows: list[Row] = [
            ((what, "strong"),),
            ((f"Keep {it} running in the background, or stop {it}?", "text"),),
            (("spectui attach", "key"), (f" shows {it} again, any time.", "muted")),
        ]
        question = self.query_one("#question", Line)
        question.styles.height = len(rows)
        question.set_rows(rows)
        self.query_one("#keep").focus()

    def _named(self) -> str:
        names = [sanitize_line(name) for name in self._names]
        return names[0] if len(names) == 1 else f"{len(names)} runs ({', '.join(names)})"

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Answer by button."""
        if event.button.id == "keep":
            self.dismiss("keep")
        elif event.button.id == "stop":
            self.dismiss("stop")
        else:
            self.dismiss(None)

    def action_choose(self, choice: Choice) -> None:
        """Answer by key."""
        self.dismiss(choice)

    def action_cancel(self) -> None:
        """Stay in the dashboard."""
        self.dismiss(None)
