"""Rows of the files that the plugin writes, checked: whatever a line holds, it is a row, none of ours, or damaged.

Names and tasks are texts of clients and of a server that others may reach: they are shortened, and lose characters
that are none to print. Numbers out of their range make a row damaged.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

FORMAT = 1
MOST_LINE_BYTES = 8 << 20
"""Of a step of thousands of requests it is a few hundred kB."""
MOST_DRAFTED = 128
MOST_TOKENS = 1 << 31
MOST_NAME = 200
"""Characters of a request's id, which its client may have given it."""
MOST_TASK = 60
_SLACK = 1e-4
"""By which a probability may be more than 1, or an entropy less than 0: they were rounded."""


class Damaged(ValueError):  # noqa: N818 - the state of a row
    """A row of ours that does not hold what it should."""


Values: TypeAlias = tuple[float | None, ...] | None


@dataclass(frozen=True)
class Meta:
    """The first row of a file: the process that writes it, and what of it is switched on."""

    format: int
    role: str
    run: str
    """The same in all processes of one start of a server; "" of the first version of the plugin."""
    host: str
    pid: int
    part: int
    """0 in the first file of its process and role, then 1, 2, ..."""
    at: float
    facts: Mapping[str, Any]
    """All that it says, such as the model and the length of drafts."""

    def text(self, name: str) -> str:
        """A fact that is text; "" where there is none."""
        value = self.facts.get(name)
        return printable(value, MOST_NAME) if isinstance(value, str) else ""


@dataclass(frozen=True)
class Request:
    """A request that the engine took up."""

    id: str
    at: float
    prompt_tokens: int | None
    """None where its row is lost."""
    task: str
    """The client's; "" without one."""
    most_tokens: int | None
    temperature: float | None


@dataclass(frozen=True, slots=True)
class Step:
    """The tokens that one step of the engine brought one request."""

    id: str
    at: float
    prefix_length: int
    """Tokens before it, those of the prompt included."""
    drafted: int
    """Draft tokens that were verified, without those that a grammar forbids."""
    drafts: tuple[int, ...] | None
    """None where the scheduler does not know them. As below, `UNKNOWN_TOKEN` where ids are left out."""
    sampled: tuple[int, ...]
    """Accepted ones, then the target's own."""
    kept: int
    """Those of them that went into the output."""


@dataclass(frozen=True, slots=True)
class Verified:
    """A draft with the target's and the drafter's figures, a value a drafted token; None is what was switched off.

    Where ids are left out, tokens of one place have the same negative number if they are the same.
    """

    id: str
    prefix_length: int
    drafts: tuple[int, ...]
    sampled: tuple[int, ...]
    target_p: Values
    argmax: tuple[int, ...] | None
    target_entropy: Values
    draft_p: Values
    draft_entropy: Values
    parents: tuple[int, ...] | None
    """The place of each draft's parent, -1 for the root; None of a chain."""


@dataclass(frozen=True)
class End:
    """The end of a request."""

    id: str
    at: float
    status: str
    tokens: int
    """Of its output."""
    preempted: int


@dataclass(frozen=True)
class Stat:
    """Counts of the plugin itself, since its process began."""

    dropped: int
    errors: int
    error: str


Row: TypeAlias = Meta | Request | Step | Verified | End | Stat


def read_line(line: bytes) -> Sequence[Row]:
    """The rows of a line; none of a kind that is not known. Raises `Damaged`."""
    if len(line) > MOST_LINE_BYTES:
        raise Damaged("a line is too long")
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        raise Damaged("a line is no JSON") from None
    if not isinstance(data, list) or not data or not isinstance(data[0], str):
        raise Damaged("a line is no row")
    kind, rest = data[0], data[1:]
    reads = _KINDS.get(kind)
    if reads is None:
        return ()
    try:
        return reads(rest)
    except (IndexError, KeyError, TypeError, ValueError, OverflowError) as error:
        if isinstance(error, Damaged):
            raise
        raise Damaged(f"a row '{kind}' holds what it should not") from None


def printable(text: str, most: int) -> str:
    """A text without characters that move a terminal's cursor, at most so long."""
    kept = "".join(letter if letter.isprintable() else " " for letter in text[: 4 * most])
    return " ".join(kept.split())[:most]


def _meta(rest: Sequence[Any]) -> Sequence[Row]:
    facts = _table(rest[0])
    run, host, role = (facts.get(name, "") for name in ("run", "host", "role"))
    return (
        Meta(
            _count(facts["format"]),
            printable(_text(role), 20),
            printable(_text(run), MOST_NAME),
            printable(_text(host), MOST_NAME),
            _count(facts.get("pid", 0)),
            _count(facts.get("part", 0)),
            _time(facts["t"]),
            facts,
        ),
    )


def _request(rest: Sequence[Any]) -> Sequence[Row]:
    facts = _table(rest[0])
    task, most = facts.get("task"), facts.get("max")
    temperature = facts.get("temperature")
    return (
        Request(
            _id(facts["id"]),
            _time(facts["t"]),
            _count(facts["prompt"]),
            printable(task, MOST_TASK) if isinstance(task, str) else "",
            None if most is None else _count(most),
            None if temperature is None else _number(temperature, 0.0, 1e3),
        ),
    )


def _steps(rest: Sequence[Any]) -> Sequence[Row]:
    at = _time(rest[0])
    return tuple(_step(at, row) for row in _list(rest[1]))


def _step(at: float, row: Any) -> Step:
    name, prefix, planned, drafts, sampled, invalid, kept = _list(row)[:7]
    planned, invalid, kept = _count(planned), _count(invalid), _count(kept)
    if invalid > planned or planned > MOST_DRAFTED:
        raise Damaged("a step drafts more than there can be")
    tokens = _ids(sampled)
    if not tokens or kept > len(tokens) or len(tokens) - 1 > planned - invalid:
        raise Damaged("a step brings more tokens than it can")
    known = None if drafts is None else _ids(drafts)[: planned - invalid]
    return Step(_id(name), at, _count(prefix), planned - invalid, known, tokens, kept)


def _verified(rest: Sequence[Any]) -> Sequence[Row]:
    return tuple(_verification(row) for row in _list(rest[0]))


def _verification(row: Any) -> Verified:
    name, prefix, drafts, sampled, target_p, argmax, _, target_entropy, draft_p, draft_entropy = _list(row)[
        :10
    ]
    ids = _ids(drafts)
    verified = Verified(
        _id(name),
        _count(prefix),
        ids,
        _ids(sampled),
        _values(target_p, 1.0),
        None if argmax is None else _ids(argmax),
        _values(target_entropy, 1e3),
        _values(draft_p, 1.0),
        _values(draft_entropy, 1e3),
        _parents(row[10]) if len(row) > 10 and row[10] is not None else None,
    )
    columns = (
        verified.target_p,
        verified.argmax,
        verified.target_entropy,
        verified.draft_p,
        verified.draft_entropy,
        verified.parents,
    )
    if len(ids) > MOST_DRAFTED or any(column is not None and len(column) != len(ids) for column in columns):
        raise Damaged("a draft and its figures differ in length")
    return verified


def _parents(values: Any) -> tuple[int, ...] | None:
    parents = _ids(values)
    if any(parent >= place for place, parent in enumerate(parents)):
        raise Damaged("a draft comes before its parent")
    if all(parent == place - 1 for place, parent in enumerate(parents)):
        return None  # a chain
    return parents


def _end(rest: Sequence[Any]) -> Sequence[Row]:
    facts = _table(rest[0])
    status = printable(_text(facts["status"]), 60).rpartition(".")[2]
    preempted = facts.get("preempted", 0)
    return (End(_id(facts["id"]), _time(facts["t"]), status, _count(facts["out"]), _count(preempted)),)


def _stat(rest: Sequence[Any]) -> Sequence[Row]:
    facts = _table(rest[0])
    error = facts.get("error")
    words = printable(error, MOST_NAME) if isinstance(error, str) else ""
    return (Stat(_count(facts.get("dropped", 0)), _count(facts.get("errors", 0)), words),)


_KINDS = {
    "meta": _meta,
    "req": _request,
    "step": _steps,
    "verify": _verified,
    "end": _end,
    "stat": _stat,
}


def _table(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise Damaged("a row is no table")
    return value


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise Damaged("a row is no list")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise Damaged("a name is no text")
    return value


def _id(value: Any) -> str:
    name = printable(_text(value), MOST_NAME)
    if not name:
        raise Damaged("a request has no id")
    return name


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < MOST_TOKENS:
        raise Damaged("a count is none")
    return value


def _time(value: Any) -> float:
    return _number(value, 0.0, 1e11)


def _number(value: Any, least: float, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise Damaged("a number is none")
    if not least - _SLACK <= value <= most + _SLACK:
        raise Damaged("a number is out of its range")
    return min(max(float(value), least), most)


def _ids(values: Any) -> tuple[int, ...]:
    """Ids of tokens; negative ones stand for those that are left out."""
    if len(_list(values)) > MOST_DRAFTED + 1:
        raise Damaged("a row has more tokens than there can be")
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int) or not -4 < value < MOST_TOKENS:
            raise Damaged("an id is none")
    return tuple(values)


def _values(values: Any, most: float) -> Values:
    """Figures; None in place of one that is no finite number, and of what is switched off."""
    if values is None:
        return None
    return tuple(None if value is None else _number(value, 0.0, most) for value in _list(values))
