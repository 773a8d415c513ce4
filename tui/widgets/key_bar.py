"""The keys that work here, on one line; those that do not fit are left to the help."""

from __future__ import annotations

from rich.cells import cell_len
from textual import events

from spectui.tui.navigation.keymap import area_of, hints
from spectui.tui.terminal.glyphs import glyphs
from spectui.tui.widgets.rows import Cell, Line

GAP, NARROW = 3, 100
"""Cells between two hints, one less on a terminal of fewer columns than this: there each hint counts."""


ARROWS = {"←": "left", "→": "right", "↑": "up", "↓": "down"}


def spelled(key: str) -> str:
    """Arrows in words where they would be drawn as ``<`` and ``>``, which are keys of their own."""
    if not glyphs().ascii:
        return key
    for arrow, word in ARROWS.items():
        key = key.replace(arrow, word)
    return key


class KeyBar(Line):
    """The keys of the screen it is on, most important first; a click does what the key does."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._state = ""
        self._spans: list[tuple[int, int, str]] = []

    def set_state(self, state: str) -> None:
        """Show the keys of another state of the screen."""
        if state != self._state:
            self._state = state
            self._draw()

    def on_resize(self) -> None:
        """Fit as many as there is room for."""
        self._draw()

    async def on_click(self, event: events.Click) -> None:
        """Do what the hint under the pointer says."""
        for start, end, action in self._spans:
            if start <= event.x < end:
                await self.screen.run_action(action)

    def _draw(self) -> None:
        cells: list[Cell] = [(" ", "text")]
        self._spans = []
        x = 1
        gap = GAP if self.size.width >= NARROW else GAP - 1
        for key, words, action in hints(area_of(type(self.screen)), self._state):
            key = spelled(key)
            width = cell_len(key) + 1 + cell_len(words)
            if x + width > self.size.width:
                break
            cells += [(key, "key"), (f" {words}{' ' * gap}", "muted")]
            self._spans.append((x, x + width, action))
            x += width + gap
        self.set_rows([tuple(cells)])
