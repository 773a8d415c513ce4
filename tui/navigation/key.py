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
    hint: str | Mapping[str, str] = ""
    """In the footer, by the state of the screen where that matters; "" keeps it out."""
    help: str = ""
    """In the help and the reference; "": the description of the binding."""
    click: str = ""
    """The action of a click on the hint; "": that of the last binding."""
    area: str = ""
    """The place that the key belongs to, where another one mentions it; "" where it is declared."""

    @property
    def words(self) -> str:
        """One phrase for the help."""
        first = self.bindings[0].description
        return self.help or first[:1].lower() + first[1:]

    def seen_from_elsewhere(self, area: str, *, hint: str = "", help: str = "", click: str = "") -> Key:
        """The same key of `area` in the footer and the help of another place, with the words it has there."""
        click = f"app.{self.bindings[-1].action}" if area == "app" else click or self.click
        return replace(self, area=area, hint=hint or self.hint, help=help or self.help, click=click)


def bind(keys: str, action: str, words: str = "", *, priority: bool = False) -> Binding:
    """One binding: keys parted by commas, the action, its words in the command palette."""
    return Binding(keys, action, words, show=False, priority=priority)


def key(
    keys: str,
    action: str,
    words: str,
    hint: str | Mapping[str, str] = "",
    *,
    help: str = "",
    priority: bool = False,
) -> Key:
    """A `Key` of one binding."""
    return Key((bind(keys, action, words, priority=priority),), hint, help)


def keys(*bindings: Binding, hint: str = "", help: str = "", click: str = "") -> Key:
    """A `Key` of several bindings that share their words."""
    return Key(bindings, hint, help, click)


def steps(
    back: str, on: str, action: str, what: str, hint: str, *, help: str = "", priority: bool = False
) -> Key:
    """A `Key` of two bindings, to the previous and to the next of something; a click goes to the next."""
    previous = bind(back, f"{action}(-1)", f"Previous {what}", priority=priority)
    following = bind(on, f"{action}(1)", f"Next {what}", priority=priority)
    if back == on.upper():  # the small letter is the one to know
        return Key((following, previous), hint, help or f"next and previous {what}", following.action)
    return Key((previous, following), hint, help or f"previous and next {what}")
