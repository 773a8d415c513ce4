"""The keys in force: those that `tui.navigation` declares, but for what the user changed in `[keys]`.

An action goes by the binding's action (``toggle_follow``, ``step_round_minus_1``), within its screen (``live``) or
widget (``table``). Changes hold for the process.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from textual.binding import Binding, BindingsMap
from textual.dom import DOMNode
from textual.keys import KEY_TO_UNICODE_NAME, Keys, format_key, key_to_character

from spectui.tui.navigation import areas
from spectui.tui.navigation.key import Key
from spectui.tui.terminal.suggest import closest

Keymap = Mapping[str, Mapping[str, str]]
"""Area -> action -> keys, several parted by commas."""

Hint = tuple[str, str, str]
"""A key as a footer shows it, what it does, and the action that a click runs."""

_in_force: Keymap = {}
"""The changes in force."""

WORDS = {"enter": "enter", "backspace": "backspace"}
"""Keys that are called by a word rather than by Textual's sign."""


class KeymapError(Exception):
    """A keymap that cannot be used; `path` is the part that is wrong: area, then action."""

    def __init__(self, path: tuple[str, ...], words: str) -> None:
        super().__init__(words)
        self.path = path


def area_of(cls: type[DOMNode]) -> str:
    """``LiveScreen`` is ``live``, ``TokenStream`` ``token_stream``, the application ``app``."""
    name = cls.__name__.removesuffix("Screen").removeprefix("Spectui") or cls.__name__
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def declared(area: str) -> list[Binding]:
    """The bindings of an area as they are declared."""
    return [binding for key in areas()[area] if not key.area for binding in key.bindings]


def bindings(area: str) -> list[Any]:
    """The bindings of an area in force: `BINDINGS` of its class."""
    changes = _in_force.get(area, {})
    return [
        replace(binding, key=",".join(split_keys(changes[name_of(binding)])))
        if name_of(binding) in changes
        else binding
        for binding in declared(area)
    ]


def actions(area: str) -> dict[str, list[Binding]]:
    """The actions of an area by name, each with the keys that it has without changes."""
    by_name: dict[str, list[Binding]] = {}
    for binding in Binding.make_bindings(declared(area)):
        by_name.setdefault(name_of(binding), []).append(binding)
    return by_name


def name_of(binding: Binding) -> str:
    """The name of an action in the settings: ``step_round(-1)`` is ``step_round_minus_1``."""
    return re.sub(r"\W+", "_", binding.action.removeprefix("app.").replace("-", "minus_")).strip("_")


def check(keymap: Keymap) -> None:
    """Raise `KeymapError` for an unknown area, action or key, and for a key with two actions."""
    known = areas()
    for area, changes in keymap.items():
        if area not in known:
            raise KeymapError((area,), f"[keys] has no screen '{area}'; {closest(area, known)}")
        able = actions(area)
        for name, keys in changes.items():
            if name not in able:
                raise KeymapError(
                    (area, name), f"[keys.{area}] has no action '{name}'; {closest(name, able)}"
                )
            for key in split_keys(keys) or [""]:
                if not _is_key(key):
                    raise KeymapError(
                        (area, name),
                        f"'{key}' is no key; write a character, or a name such as space, left, f5, ctrl+o",
                    )
        taken: dict[str, str] = {}
        for name, bindings in able.items():
            for key in split_keys(changes[name]) if name in changes else [b.key for b in bindings]:
                other = taken.setdefault(_canonical(key), name)
                if other != name:
                    path = (area, name if name in changes else other)
                    raise KeymapError(
                        path, f"'{key}' would be both {other} and {name}; give one of them another key"
                    )


def split_keys(keys: str) -> list[str]:
    """The keys of a text such as ``f,ctrl+f``; a comma alone is a key."""
    if keys.strip() == ",":
        return ["comma"]
    return [key.strip() if key.strip() else key for key in keys.split(",") if key]


def apply(keymap: Keymap) -> None:
    """Have these keys from now on and, for all else, those that are declared. `keymap` has to have passed `check`."""
    global _in_force
    _in_force = keymap
    known = areas()
    for cls in _ours(DOMNode):
        if "BINDINGS" in cls.__dict__ and area_of(cls) in known:
            cls.BINDINGS = bindings(area_of(cls))
        cls._merged_bindings = cls._merge_bindings()


def key_text(key: Key, area: str, gap: str = " ") -> str:
    """The keys of a `Key` of an area as they are in force: ``[ ]``, ``1-4``, ``shift+← →``."""
    changes = _in_force.get(key.area or area, {})
    in_force = (split_keys(changes.get(name_of(binding), binding.key))[0] for binding in key.bindings)
    texts = list(dict.fromkeys(display(each) for each in in_force))
    if len(texts) > 2 and all(each.isdigit() for each in texts):
        return f"{texts[0]}-{texts[-1]}"
    modifier = texts[0].rpartition("+")[0]
    if modifier and all(each.startswith(f"{modifier}+") for each in texts):
        texts[1:] = [each.removeprefix(f"{modifier}+") for each in texts[1:]]
    return (gap if len(texts) < 3 else " ").join(texts)


def hints(area: str, state: str = "") -> list[Hint]:
    """The hints of a footer in that state of its screen."""
    words = [
        (key, key.hint if isinstance(key.hint, str) else key.hint.get(state, "")) for key in areas()[area]
    ]
    return [(key_text(key, area), hint, key.click or key.bindings[-1].action) for key, hint in words if hint]


def display(key: str) -> str:
    """A key as the footer and the help write it: ``left_square_bracket`` is ``[``."""
    *modifiers, last = key.split("+") if len(key) > 1 else [key]
    return "+".join([*modifiers, WORDS.get(last) or format_key(last)])


def key_of(area: str, action: str) -> str:
    """The key of an action in force, as it is displayed; "" where the area has no such action."""
    for binding in declared(area) if area in areas() else []:
        if name_of(binding) == action:
            return display(split_keys(_in_force.get(area, {}).get(action, binding.key))[0])
    return ""


def key_for(node: DOMNode, action: str) -> str:
    """The key of an action of the screen that a node is on: ``key_for(self, "back")`` is ``esc``."""
    places = (area_of(cls) for cls in type(node.screen).__mro__ if _is_ours(cls))
    return next(filter(None, (key_of(place, action) for place in places)), "")


def _ours(cls: type[DOMNode]) -> Iterator[type[DOMNode]]:
    for below in cls.__subclasses__():
        if _is_ours(below):
            yield below
        yield from _ours(below)


def _is_ours(cls: type) -> bool:
    return cls.__module__.startswith("spectui.tui.")


def _is_key(key: str) -> bool:
    *modifiers, last = key.split("+") if len(key) > 1 else [key]
    if any(modifier not in ("ctrl", "shift", "alt", "super") for modifier in modifiers):
        return False
    named = {str(known.value).rpartition("+")[2] for known in Keys} | KEY_TO_UNICODE_NAME.keys()
    return (len(last) == 1 and last.isprintable()) or last in named or key_to_character(last) is not None


def _canonical(key: str) -> str:
    """One name for each key: ``?`` is ``question_mark``."""
    return next(iter(BindingsMap([Binding(key, "x")]).key_to_bindings))
