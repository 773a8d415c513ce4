"""A line of input whose cursor does not blink: blinking writes to a terminal that is idle."""

from __future__ import annotations

from textual.widgets import Input


class SteadyInput(Input):
    """`Input`, compact and without blinking."""

    def __init__(self, value: str = "", *, placeholder: str = "", id: str | None = None) -> None:
        super().__init__(value, placeholder=placeholder, compact=True, id=id)
        self.cursor_blink = False
