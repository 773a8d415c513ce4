"""The question before a session is deleted."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button

from spectui.store.rows import SessionSummary
from spectui.store.sources import WATCH
from spectui.tui.model.transcript import wrap
from spectui.tui.navigation.keymap import bindings, key_for, key_of
from spectui.tui.terminal.cells import counted, fit, fitting
from spectui.tui.terminal.textsafe import sanitize_line
from spectui.tui.widgets.rows import Line, Row

BOX, FRAME = 62, 6
"""Cells of the box at most, and of its border and padding."""


class DeleteScreen(ModalScreen[bool]):
    """A dialog whose result is True when the session is to be deleted."""

    CSS_PATH = "delete.tcss"
    BINDINGS = bindings("delete")

    def __init__(self, summary: SessionSummary) -> None:
        super().__init__()
        self._summary = summary

    def compose(self) -> ComposeResult:
        """The question and its two answers."""
        with Vertical(id="delete-box"):
            yield Line(id="delete-question")
            with Horizontal(id="delete-buttons"):
                yield Button("Keep", id="keep", variant="primary", compact=True)
                yield Button("Delete", id="delete", compact=True)

    def on_mount(self) -> None:
        """Name the box, and ask."""
        self.query_one("#delete-box").border_title = "delete"
        self.query_one(
            "#delete-box"
        ).border_subtitle = f"{key_for(self, 'answer_True')} deletes  {key_for(self, 'answer_False')} keeps"
        self._ask()
        self.query_one("#keep").focus()

    def on_resize(self) -> None:
        """Write the question for this width."""
        self._ask()

    def _ask(self) -> None:
        summary = self._summary
        what = [
            counted(summary.prompts_done, "prompt"),
            counted(summary.rounds, "round"),
            counted(summary.nodes, "node"),
        ]
        if summary.source == WATCH:
            what = ["samples of a watched server"]
        room = min(self.app.size.width, BOX) - FRAME
        name = fit(sanitize_line(summary.name), min(room - len("Delete ?"), 40)).rstrip()
        rows: list[Row] = [
            ((f"Delete {name}?", "strong"),),
            ((fitting(what, room, ", "), "text"),),
        ]
        back = wrap(f"{key_of('sessions', 'undo')} brings it back until the dashboard is left.", room)
        rows += [((line, "muted"),) for line in back]
        question = self.query_one("#delete-question", Line)
        question.styles.height = len(rows)
        question.set_rows(rows)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Answer by button."""
        self.dismiss(event.button.id == "delete")

    def action_answer(self, answer: bool) -> None:
        """Answer by key."""
        self.dismiss(answer)
