"""Text wrapped into a fixed height: its beginning, or its end."""

from __future__ import annotations

from spectui.tui.model.transcript import wrap
from spectui.tui.terminal.cells import fit
from spectui.tui.widgets.rows import Cell, Line, Row


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
