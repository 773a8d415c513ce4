"""Options declared once, as metadata of a dataclass's fields; command lines, settings and forms are made from them."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from enum import IntEnum
from pathlib import Path
from typing import Any

from spectui.decoding.errors import UsageError

NO, YES = "no", "yes"
KINDS: dict[str, type] = {
    "str": str, "int": int, "float": float, "bool": bool, "dict[str, Any]": dict, "Path": Path,
}  # fmt: skip
"""Annotation of a field, without ``| None`` -> type of its values."""
WORDS: dict[type, str] = {
    str: "text, in quotes", int: "a whole number", float: "a number", bool: "true or false",
    dict: "a table, as { enable_thinking = false }",
}  # fmt: skip
"""Type -> its name in messages."""


class Part(IntEnum):
    """The part of a form and of a settings file that an option stands in, in their order."""

    MODELS = 1
    PROMPTS = 2
    DECODING = 3
    SESSION = 4


@dataclass(frozen=True)
class Rule:
    """A condition on a value, and the end of the sentence for one that breaks it."""

    words: str
    holds: Callable[[Any], bool]


@dataclass(frozen=True)
class Form:
    """The line of an option in the form for a new run."""

    label: str
    hint: str
    """Stands beside the field."""
    about: str = ""
    """Stands below the form while the field has the focus, after the choices where it has some."""
    choices: tuple[str, ...] = ()
    """Values that the space bar goes through."""
    begin: str | None = None
    """Text that a new form has; None: the default."""


@dataclass(frozen=True)
class Option:
    """One option: everything that command line, settings file and form know about it."""

    name: str
    """Name of the field."""
    kind: type
    default: Any
    optional: bool
    """None is a value."""
    flag: str
    help: str
    """``{default}`` in it is the default."""
    metavar: str | None = None
    read: Callable[[str], Any] | None = None
    """Reads the value from text, where its type alone does not say how; its `ValueError` says what to write."""
    rule: Rule | None = None
    setting: str = ""
    """Key in ``[run]`` of the settings, with underscores; empty: it cannot be set there."""
    example: str = ""
    """A value as a settings file has it; empty: any of its type."""
    part: Part = Part.DECODING
    form: Form | None = None

    def described(self, default: Any = None) -> str:
        """The help, with its default or another."""
        return self.help.replace("{default}", str(self.default if default is None else default))

    @property
    def setting_kind(self) -> type:
        """Type of the value in a settings file."""
        return str if self.read is not None or self.kind is Path else self.kind

    def from_setting(self, value: Any) -> Any:
        """The option's value that a settings file means. Raises `UsageError`."""
        return self.parse(value) if self.setting_kind is not self.kind else value

    def parse(self, text: str) -> Any:
        """The value that a text means. Raises `UsageError`."""
        if not text and self.optional:
            return None
        if self.kind is bool:
            if text not in (NO, YES):
                raise UsageError(f"{self.flag} is '{text}'; it must be {YES} or {NO}")
            return text == YES
        try:
            return self.kind(text) if self.read is None else self.read(text)
        except ValueError as error:
            words = f"it must be {WORDS[self.kind]}" if self.read is None else str(error)
            raise UsageError(f"{self.flag} is '{text}'; {words}") from None

    def check(self, value: Any) -> None:
        """Raise `UsageError` where the value breaks the option's rule."""
        if self.rule is None or (value is None and self.optional) or self.rule.holds(value):
            return
        shown = value
        if isinstance(value, str):
            shown = f"'{value}'" if value.strip() else "empty"
        raise UsageError(f"{self.flag} is {shown}; {self.rule.words}")


def option(default: Any, flag: str, help: str, **facts: Any) -> Any:
    """A field of a dataclass that is an option; `facts` are fields of `Option`.

    It can be set in the settings file by its flag's name, unless `setting` says otherwise.
    """
    facts = {"flag": flag, "help": help, "setting": flag.lstrip("-").replace("-", "_")} | facts
    if default is dict:
        return field(default_factory=dict, hash=False, metadata={"option": facts})
    return field(default=default, metadata={"option": facts})


def options_of(cls: type) -> dict[str, Option]:
    """The options that a dataclass declares, by the names of their fields, in the order of those."""
    declared: dict[str, Option] = {}
    for each in fields(cls):
        if facts := dict(each.metadata.get("option", {})):
            kind, optional = _kind(each.type)
            default = {} if kind is dict else each.default
            declared[each.name] = Option(each.name, kind, default, optional, **facts)
    return declared


def add_arguments(parser: ArgumentParser, options: Iterable[Option], **defaults: Any) -> None:
    """Add options to a parser, each under the name of its field; `defaults` are others than those declared."""
    for each in options:
        default = defaults.get(each.name, each.default)
        words = each.described(default).removesuffix(".").replace("%", "%%")
        settings: dict[str, Any] = {"dest": each.name, "help": words[:1].lower() + words[1:]}
        if each.kind is bool:
            settings["action"] = "store_true"
        elif each.kind is dict:
            settings |= {"action": "append", "default": [], "metavar": each.metavar}
        else:
            metavar = each.metavar or each.name[:1].upper()
            settings |= {"type": each.kind, "default": default, "metavar": metavar}
        parser.add_argument(each.flag, **settings)


def at_least(number: float) -> Rule:
    """The rule for a number that has a least value."""
    return Rule(f"give at least {number:g}", lambda value: value >= number)


def fits(value: Any, annotation: str) -> bool:
    """True for a value from JSON of the type that a field is annotated with, such as ``float | None``."""
    kind, optional = _kind(annotation)
    if value is None:
        return optional
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


def _kind(annotation: Any) -> tuple[type, bool]:
    """The type of a field's values, and whether None is one."""
    plain, _, none = str(annotation).partition(" | ")
    return KINDS[plain], bool(none)


def read_shard(text: str) -> tuple[int, int]:
    """The number of a shard and of how many it is one, written as 2/3, the first 1/3. Raises `ValueError`."""
    number, slash, of = text.partition("/")
    plain = number.isascii() and of.isascii() and number.isdecimal() and of.isdecimal() and len(text) < 16
    if not slash or not plain or not 1 <= int(number) <= int(of):
        raise ValueError("write it as 2/3: shards are counted from 1/3 to 3/3")
    return int(number), int(of)


def read_duration(text: str) -> float:
    """Seconds of a time written as 90, 90s, 45m or 12h. Raises `ValueError`."""
    number = text.strip().lower()
    scale = {"s": 1, "m": 60, "h": 3600}.get(number[-1:])
    try:
        seconds = float(number[:-1]) * scale if scale else float(number)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise ValueError("write it as 90, 90s, 45m or 12h")
    return seconds
