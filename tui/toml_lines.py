"""On which line of a TOML file a value stands: `tomllib` does not say, and whoever is wrong wants to know."""

from __future__ import annotations

import re
from collections.abc import Sequence

_TABLE = re.compile(r"^\s*\[([^\[\]]+)\]\s*(?:#.*)?$")
_KEY = re.compile(
    r"""^\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*="""
)
_PART = re.compile(r"""[A-Za-z0-9_-]+|"[^"]*"|'[^']*'""")


def line_of(text: str, path: Sequence[str]) -> int:
    """The line, from 1, on which the key or the table of that path is set; that of the nearest table around
    it when it is set in a way not looked for, such as within an inline table."""
    wanted = tuple(path)
    table: tuple[str, ...] = ()
    best, found = 1, -1
    for number, line in enumerate(text.split("\n"), start=1):
        if heading := _TABLE.match(line):
            table = _parts(heading.group(1))
            here = table
        elif key := _KEY.match(line):
            here = (*table, *_parts(key.group(1)))
        else:
            continue
        if wanted[: len(here)] == here and len(here) > found:
            best, found = number, len(here)
    return best


def _parts(text: str) -> tuple[str, ...]:
    return tuple(part.strip("\"'") for part in _PART.findall(text))
