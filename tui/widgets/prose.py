"""Text wrapped to the width it has: the prompt above its answer, and paragraphs of a fixed height."""

from __future__ import annotations

from rich.cells import cell_len, set_cell_size

from spectui.tui.model.transcript import wrap
from spectui.tui.navigation.keymap import key_for
from spectui.tui.terminal.cells import fit
from spectui.tui.terminal.textsafe import sanitize
from spectui.tui.widgets.rows import Cell, Line, Row

LINES = 2


class PromptHead(Line):
    """The first lines of the prompt; `toggle` shows all of it, as far as half the pane goes."""

    DEFAULT_CSS = "PromptHead { height: auto; max-height: 50%; margin-bottom: 1; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._prompt = ""
        self._whole = False

    def show(self, prompt: str) -> None:
        """Show this prompt, its beginning first."""
        self._prompt = sanitize(prompt).strip()
        self._whole = False
        self._draw()

    def toggle(self) -> None:
        """Show all of the prompt, or its beginning again."""
        self._whole = not self._whole
        self._draw()

    def on_resize(self) -> None:
        """Wrap to the new width."""
        self._draw()

    def on_click(self) -> None:
        """A click shows all of it."""
        self.toggle()

    def _draw(self) -> None:
        width = self.size.width
        if not width:
            return
        lines = wrap(self._prompt, width)
        if not self._whole and len(lines) > LINES:
            more = f" … {key_for(self, 'whole_prompt')} shows all"
            last = lines[LINES - 1].rstrip()
            room = width - len(more)
            last = set_cell_size(last, room).rstrip() + more if cell_len(last) > room else last + more
            lines = [*lines[: LINES - 1], last]
        lines += [""] * (LINES - len(lines))
        rows: list[Row] = [((line, "note"),) for line in lines]
        self.styles.height = len(rows)
        self.set_rows(rows)


class Words(Line):
    """Paragraphs, each in a role, wrapped anew whenever the size changes; what does not fit is left out."""

    def __init__(self, *, tail: bool = False, id: str | None = None) -> None:
        super().__init__(id=id)
        self._tail = tail
        self._paragraphs: tuple[Cell, ...] = ()

    def show(self, *paragraphs: Cell) -> None:
        """Show these; the texts must be sanitized."""
        self._paragraphs = paragraphs
        self._draw()

    def on_resize(self) -> None:
        """Wrap to the new width."""
        self._draw()

    def _draw(self) -> None:
        width, height = self.size
        if not width or not height:
            return
        lines = [(line, role) for text, role in self._paragraphs for line in wrap(text, width)]
        if len(lines) > height:
            lines = lines[-height:] if self._tail else lines[:height]
            if not self._tail:
                text, role = lines[-1]
                lines[-1] = (fit(text.rstrip() + " …", width), role)
        rows: list[Row] = [(line,) for line in lines]
        self.set_rows(rows)
