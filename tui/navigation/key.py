"""A key of the dashboard with all its words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from textual.binding import Binding


@dataclass(frozen=True)
class Key:
    """A key, or a few that belong together such as two arrows, with all its words."""

    bindings: tuple[Binding, ...]
    """Their descriptions stand in the command palette."""
    help: str = ""
    """In the help and in docs/reference/keys.md; "" keeps it out."""
    hint: str | Mapping[str, str] = ""
    """In the footer, by the state of the screen where that matters; "" keeps it out."""
    click: str = ""
    """The action of a click on the hint; "": that of the last binding."""
    area: str = ""
    """The place that the key belongs to, where another one mentions it; "" where it is declared."""

    def seen_from_elsewhere(self, area: str, *, help: str = "", hint: str = "", click: str = "") -> Key:
        """The same key of `area` in the footer and the help of another place, with the words it has there."""
        click = click or self.click
        if area == "app":
            click = f"app.{self.bindings[-1].action}"
        return replace(self, area=area, help=help, hint=hint or self.hint, click=click)


def bind(keys: str, action: str, words: str = "", *, priority: bool = False) -> Binding:
    """One binding: keys parted by commas, the action, its words in the command palette."""
    return Binding(keys, action, words, show=False, priority=priority)


def key(
    keys: str,
    action: str,
    words: str = "",
    *,
    help: str = "",
    hint: str | Mapping[str, str] = "",
    priority: bool = False,
) -> Key:
    """A `Key` of one binding."""
    return Key((bind(keys, action, words, priority=priority),), help, hint)


def keys(*bindings: Binding, help: str = "", hint: str = "", click: str = "") -> Key:
    """A `Key` of several bindings that share their words."""
    return Key(bindings, help, hint, click)
