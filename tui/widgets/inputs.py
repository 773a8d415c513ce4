"""Lines of input: one whose cursor does not blink, and one that also offers a few values."""

from __future__ import annotations

from collections.abc import Sequence

from textual import events
from textual.widgets import Input


class SteadyInput(Input):
    """`Input`, compact and without blinking: that would write to a terminal which is idle."""

    def __init__(self, value: str = "", *, placeholder: str = "", id: str | None = None) -> None:
        super().__init__(value, placeholder=placeholder, compact=True, id=id)
        self.cursor_blink = False


class ChoiceInput(SteadyInput):
    """Space puts the next choice where a choice or nothing stands; elsewhere it is a space."""

    def __init__(self, value: str, choices: Sequence[str], *, id: str | None = None) -> None:
        super().__init__(value, id=id)
        self.choices = tuple(choices)
        """Offered in this order; an empty one is the default."""

    async def _on_key(self, event: events.Key) -> None:
        if event.key == "space" and self.value.strip() in ("", *self.choices):
            event.stop()
            event.prevent_default()
            self.next_choice()
        else:
            await super()._on_key(event)

    def next_choice(self) -> None:
        """Put the choice after the present one; the first after the last."""
        place = self.choices.index(self.value.strip()) if self.value.strip() in self.choices else -1
        self.value = self.choices[(place + 1) % len(self.choices)]
        self.cursor_position = len(self.value)
