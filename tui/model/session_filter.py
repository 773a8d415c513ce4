"""The filter above the list of sessions: a small language, read as it is typed. Pure, no widgets.

Words are parted by blanks and all must hold: ``math eagle`` finds sessions that have both, in whatever
field. ``field:word`` looks in one field, ``#word`` in the tags, ``>2026-11-01`` at the date (also
``<``, ``>=``, ``<=``, ``=``; a month or a year will do), ``-word`` finds what does not have it, and
``"two words"`` is one. Case does not matter. Half a word is a filter too, so nothing typed is ever an
error: what cannot be understood yet is left out and said in `Filter.problem`.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from spectui.store.rows import SessionSummary
from spectui.tui.model.progress import failed_words, silence

FIELDS = ("name", "target", "drafter", "tree", "task", "tag", "status", "device", "note", "date")
"""The names of ``field:``; a word without one is looked for in all of them."""

ALIASES = {"model": "target", "draft": "drafter", "notes": "note", "tags": "tag", "tasks": "task"}

_WORD = re.compile(r'(?:"[^"]*"?|[^\s"])+')
_DATE = re.compile(r"\d{4}(-\d{2}){0,2}")
_COMPARISON = re.compile(r"(>=|<=|>|<|=)(.*)", re.DOTALL)
_COMPARE: Mapping[str, Callable[[str, str], bool]] = {
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
    "=": operator.eq,
}


@dataclass(frozen=True)
class Entry:
    """A session as the filter sees it: the text of each field, made ready once."""

    fields: Mapping[str, str]
    text: str
    """All fields on lines of their own."""
    date: str
    """The local day it was started, ``2026-11-01``; "" when that is unknown."""


@dataclass(frozen=True)
class Filter:
    """Conditions that must all hold."""

    conditions: tuple[Callable[[Entry], bool], ...] = ()
    problem: str = ""
    """The part that was not understood, in words; "" when all was."""

    def __bool__(self) -> bool:
        return bool(self.conditions)

    def matches(self, entry: Entry) -> bool:
        """True when a session passes the filter."""
        return all(holds(entry) for holds in self.conditions)


def entry_of(summary: SessionSummary) -> Entry:
    """The words and figures that a session is filtered by."""
    date = _local_day(summary.started_at or summary.created_at)
    fields = {
        "name": summary.name,
        "target": summary.target,
        "drafter": summary.drafter,
        "tree": summary.tree,
        "task": " ".join(summary.tasks),
        "tag": " ".join(f"#{tag}" for tag in summary.tags),
        "status": " ".join(filter(None, (summary.status, failed_words(summary), silence(summary)))),
        "device": summary.device,
        "note": summary.notes,
        "date": date,
    }
    folded = {name: _folded(value) for name, value in fields.items()}
    return Entry(folded, "\n".join(folded.values()), date)


def parse(text: str) -> Filter:
    """The filter that a text means; any text is one."""
    conditions: list[Callable[[Entry], bool]] = []
    problem = ""
    for word in _WORD.findall(text):
        negated = len(word) > 1 and word.startswith("-")
        try:
            condition = _condition(word.removeprefix("-") if negated else word)
        except ValueError as error:
            problem = str(error)
            continue
        if condition is not None:
            conditions.append(_negation(condition) if negated else condition)
    return Filter(tuple(conditions), problem)


def _condition(word: str) -> Callable[[Entry], bool] | None:
    """The condition of one word; None while it says nothing yet. Raises `ValueError` in words."""
    name, colon, rest = word.partition(":")
    name = ALIASES.get(name.casefold(), name.casefold())
    if not colon or name not in FIELDS or '"' in name:
        name, rest = "", word
    if name in ("", "date") and (match := _COMPARISON.fullmatch(rest)):
        return _comparison(*match.groups())
    sought = _folded(rest.replace('"', ""))
    if not sought or sought in ("#", "-"):
        return None
    if not name:
        return lambda entry: sought in entry.text
    return lambda entry: sought in entry.fields[name]


def _comparison(sign: str, date: str) -> Callable[[Entry], bool]:
    date = date.replace('"', "")
    if not _DATE.fullmatch(date):
        raise ValueError(f"a date is needed after {sign}, such as {sign}2026-11-01 or {sign}2026-11")
    compare = _COMPARE[sign]
    # Dates of one length sort as text does, so a month is compared with months and a year with years.
    return lambda entry: bool(entry.date) and compare(entry.date[: len(date)], date)


def _negation(condition: Callable[[Entry], bool]) -> Callable[[Entry], bool]:
    return lambda entry: not condition(entry)


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


def _local_day(text: str) -> str:
    try:
        then = datetime.fromisoformat(text)
        return (then if then.tzinfo else then.replace(tzinfo=UTC)).astimezone().date().isoformat()
    except (ValueError, OverflowError, OSError):
        return ""
