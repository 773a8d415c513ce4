"""Which key does what on every screen and in every widget, and other keys where the user wants them.

Nothing has to be registered: a screen's bindings are its `BINDINGS`. An action goes by the binding's `id`
or, without one, by the action itself (``toggle_follow``), within its screen (``live``) or widget
(``table``). Changes hold for the process, so they are made before a screen is.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from textual.binding import Binding, BindingsMap
from textual.dom import DOMNode
from textual.keys import KEY_TO_UNICODE_NAME, Keys, format_key, key_to_character

from spectui import tui
from spectui.tui.settings import closest

Keymap = Mapping[str, Mapping[str, str]]
"""Area -> action -> keys, several parted by commas."""

_original: dict[type[DOMNode], list[Any]] = {}
"""The bindings of classes that have others now."""

_shown: dict[str, dict[str, str]] = {}
"""Area -> key as it is shown without changes -> with them."""

SHOWN = {"enter": "enter", "backspace": "backspace"}
"""Keys that are called by a word rather than by Textual's sign."""


class KeymapError(Exception):
    """A keymap that cannot be; `path` says what of it: area, then action."""

    def __init__(self, path: tuple[str, ...], words: str) -> None:
        super().__init__(words)
        self.path = path


def areas() -> dict[str, type[DOMNode]]:
    """Every screen and widget of ours that has keys, by name; imports all of them."""
    return {area_of(cls): cls for cls in classes(DOMNode) if _bindings(cls)}


def classes(base: type[DOMNode]) -> list[type[DOMNode]]:
    """Every class of ours below that one; imports all screens and widgets."""
    for module in pkgutil.walk_packages(tui.__path__, f"{tui.__name__}."):
        if module.name.split(".")[2] in ("app", "screens", "widgets"):
            importlib.import_module(module.name)
    return list(_ours(base))


def area_of(cls: type[DOMNode]) -> str:
    """``LiveScreen`` is ``live``, ``TokenStream`` ``token_stream``, the application ``app``."""
    name = cls.__name__.removesuffix("Screen").removeprefix("Spectui") or cls.__name__
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def actions(cls: type[DOMNode]) -> dict[str, list[Binding]]:
    """What can be done in that class alone, by name, with the keys it has without changes."""
    found: dict[str, list[Binding]] = {}
    for binding in Binding.make_bindings(_bindings(cls)):
        found.setdefault(name_of(binding), []).append(binding)
    return found


def name_of(binding: Binding) -> str:
    """What an action is called in the configuration: ``step_round(-1)`` is ``step_round_minus_1``."""
    if binding.id:
        return binding.id
    return re.sub(r"\W+", "_", binding.action.removeprefix("app.").replace("-", "minus_")).strip("_")


def check(keymap: Keymap) -> None:
    """Raise `KeymapError` for an area, an action or a key that there is not, or a key that does two things."""
    known = areas()
    for area, changes in keymap.items():
        if area not in known:
            raise KeymapError((area,), f"[keys] has no screen '{area}'; {closest(area, known)}")
        able = actions(known[area])
        for name, keys in changes.items():
            if name not in able:
                raise KeymapError(
                    (area, name), f"[keys.{area}] has no action '{name}'; {closest(name, able)}"
                )
            for key in parted(keys) or [""]:
                if not _is_key(key):
                    raise KeymapError(
                        (area, name),
                        f"'{key}' is no key; write a character, or a name such as space, left, f5, ctrl+o",
                    )
        taken: dict[str, str] = {}
        for name, bindings in able.items():
            for key in parted(changes[name]) if name in changes else [b.key for b in bindings]:
                other = taken.setdefault(_canonical(key), name)
                if other != name:
                    path = (area, name if name in changes else other)
                    raise KeymapError(
                        path, f"'{key}' would be both {other} and {name}; give one of them another key"
                    )


def parted(keys: str) -> list[str]:
    """The keys of a text such as ``f,ctrl+f``; a comma alone is the key."""
    if keys.strip() == ",":
        return ["comma"]
    return [key.strip() if key.strip() else key for key in keys.split(",") if key]


def apply(keymap: Keymap) -> None:
    """Have these keys from now on and, for all else, those of the screens themselves.

    `keymap` has to have passed `check`.
    """
    for cls, bindings in _original.items():
        cls.BINDINGS = bindings
    _original.clear()
    _shown.clear()
    if keymap:
        known = areas()
        for area, changes in keymap.items():
            _change(area, known[area], changes)
    for cls in _ours(DOMNode):
        cls._merged_bindings = cls._merge_bindings()


def _change(area: str, cls: type[DOMNode], changes: Mapping[str, str]) -> None:
    before = _original[cls] = list(_bindings(cls))
    after: list[Binding] = []
    for binding in before:
        keys = changes.get(name_of(binding))
        after.append(binding if keys is None else replace(binding, key=",".join(parted(keys))))
        if keys is not None:
            old = [shown(key) for key in parted(binding.key)]
            new = [shown(key) for key in parted(keys)]
            # Two keys for one action: each in the place of one; the last stands for those left over.
            for place, key in enumerate(old):
                _shown.setdefault(area, {})[key] = new[min(place, len(new) - 1)]
    cls.BINDINGS = list[Any](after)


def shown(key: str) -> str:
    """A key as the footer and the help write it: ``left_square_bracket`` is ``[``."""
    *modifiers, last = key.split("+") if len(key) > 1 else [key]
    return "+".join([*modifiers, SHOWN.get(last) or format_key(last)])


def label(text: str, *where: str | type[DOMNode]) -> str:
    """A key hint, such as ``[  ]`` or ``1-4``, with the keys that these areas (or their classes) have now."""
    changed: dict[str, str] = {}
    for place in where:
        names = (
            [place] if isinstance(place, str) else [area_of(cls) for cls in place.__mro__ if _is_ours(cls)]
        )
        for name in reversed(names):
            changed |= _shown.get(name, {})
    if not changed:
        return text
    words = re.split(r"(\s+)", text)
    return "".join(_label(word, changed) for word in words)


def named(node: DOMNode, text: str, *where: str) -> str:
    """A key hint in the words of a screen or of a widget on it: the keys that the screen has now."""
    return label(text, *where, type(node.screen), type(node.app))


def _label(word: str, changed: Mapping[str, str]) -> str:
    first, dash, last = word.partition("-")
    if dash and first.isdigit() and last.isdigit():
        every = [str(number) for number in range(int(first), int(last) + 1)]
        if changed.keys() & set(every):
            return " ".join(changed.get(key, key) for key in every)
    return changed.get(word, word)


def _ours(cls: type[DOMNode]) -> Iterator[type[DOMNode]]:
    for below in cls.__subclasses__():
        if _is_ours(below):
            yield below
        yield from _ours(below)


def _is_ours(cls: type) -> bool:
    return cls.__module__.startswith(f"{tui.__name__}.")


def _bindings(cls: type[DOMNode]) -> list[Any]:
    """Those of the class itself, without changes."""
    found: list[Any] = _original[cls] if cls in _original else cls.__dict__.get("BINDINGS", [])
    return found


def _is_key(key: str) -> bool:
    *modifiers, last = key.split("+") if len(key) > 1 else [key]
    if any(modifier not in ("ctrl", "shift", "alt", "super") for modifier in modifiers):
        return False
    named = {str(known.value).rpartition("+")[2] for known in Keys} | KEY_TO_UNICODE_NAME.keys()
    return (len(last) == 1 and last.isprintable()) or last in named or key_to_character(last) is not None


def _canonical(key: str) -> str:
    """One name for each key: ``?`` is ``question_mark``."""
    return next(iter(BindingsMap([Binding(key, "x")]).key_to_bindings))
