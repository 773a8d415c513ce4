"""TOML files of the user's: a mistake is named with file and line, an unknown key with the closest known one.

Read without Textual, for the command line reads them too.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from spectui.tui.terminal.suggest import closest


class SettingsError(Exception):
    """The file cannot be used; the message says where and what to do."""


_TABLE = re.compile(r"^\s*\[([^\[\]]+)\]\s*(?:#.*)?$")
_KEY = re.compile(
    r"""^\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*="""
)
_PART = re.compile(r"""[A-Za-z0-9_-]+|"[^"]*"|'[^']*'""")

SHOWN = 80
"""Characters of a wrong value that a message repeats."""


def read_text(path: Path) -> str:
    """The text of a file. Raises `FileNotFoundError` and `NotADirectoryError` for none, else `SettingsError`."""
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from error
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SettingsError(f"{path}:{line}: this is not UTF-8; save the file as UTF-8") from error


def read_table(text: str, path: Path) -> dict[str, Any]:
    """The table that a text is as TOML. Raises `SettingsError` naming `path` and the line."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        words, _, at = str(error).rpartition(" (at ")
        line = at.removeprefix("line ").partition(",")[0]
        where = line if line.isdigit() else str(text.count("\n") + 1)
        raise SettingsError(f"{path}:{where}: {words or error}") from error
    except (RecursionError, ValueError) as error:  # brackets by the thousand, a number of thousands of digits
        raise SettingsError(
            f"{path}:1: something here is nested too deeply, or a number too long to be read"
        ) from error


class TomlReader:
    """Reads the values of one file, each of the type that it has to be."""

    def __init__(self, text: str, path: Path) -> None:
        self.text = text
        self.path = path

    def table(self, table: Mapping[str, Any], path: tuple[str, ...]) -> Mapping[str, Any]:
        """A table within another; empty where there is none."""
        value = table.get(path[-1], {})
        if not isinstance(value, dict):
            name = ".".join(path)
            raise self.error(path, f"{name} is a table; write [{name}] and its settings below")
        return value

    def value(self, table: Mapping[str, Any], kind: type, path: tuple[str, ...]) -> Any:
        """A value of that kind."""
        value = table[path[-1]]
        fits = isinstance(value, kind) and isinstance(value, bool) == (kind is bool)
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        if not fits:
            from spectui.decoding.options import WORDS

            shown = repr(value)
            shown = shown if len(shown) <= SHOWN else shown[:SHOWN] + "…"
            raise self.error(path, f"{'.'.join(path)} is {shown}; it must be {WORDS[kind]}")
        return value

    def known(
        self, table: Mapping[str, Any], names: Collection[str], path: tuple[str, ...], *, flags: bool = False
    ) -> None:
        """Refuse a key that is none of `names`; with `flags` underscores stand for dashes, too."""
        for name in table:
            if (name.replace("_", "-") if flags else name) not in names:
                what = f"[{'.'.join(path)}] has no" if path else "there is no"
                raise self.error((*path, name), f"{what} setting '{name}'; {closest(name, names)}")

    def error(self, path: Sequence[str], words: str) -> SettingsError:
        """The error about a key, with its line."""
        return SettingsError(f"{self.path}:{line_of(self.text, path)}: {words}")


def line_of(text: str, path: Sequence[str]) -> int:
    """The line, from 1, on which the key or the table of that path is set; that of the nearest table around
    it when it is set in a way not looked for, such as within an inline table."""
    wanted = tuple(path)
    table: tuple[str, ...] = ()
    best, depth = 1, -1
    for number, line in enumerate(text.split("\n"), start=1):
        if heading := _TABLE.match(line):
            table = _parts(heading.group(1))
            place = table
        elif key := _KEY.match(line):
            place = (*table, *_parts(key.group(1)))
        else:
            continue
        if wanted[: len(place)] == place and len(place) > depth:
            best, depth = number, len(place)
    return best


def _parts(text: str) -> tuple[str, ...]:
    return tuple(part.strip("\"'") for part in _PART.findall(text))
