"""One line of a prompt file: an object, checked field by field, as a prompt. Errors say what is wrong in a few words.

`prompts.loader` reads files of our own format with it, `prompts.importers` those of others.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

TASK_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
"""What a task may be called: short enough for a column, plain enough for a file name."""

ID_LENGTH = 64
"""Most characters of a prompt id."""

KEYS = ("id", "task", "prompt")


@dataclass(frozen=True)
class Prompt:
    """One thing to ask a model."""

    id: str
    """Unique within a run."""
    task: str
    """What kind of text it asks for; figures are kept per task."""
    text: str
    """What the user says, before any chat template."""


Fields = dict[str, str]
"""``task``, ``prompt`` and perhaps ``id`` of a line, checked."""


def split(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Lines that hold something, numbered from 1, without a byte order mark."""
    # Split on LF alone: JSON strings may hold U+2028 and the like, at which splitlines() would cut.
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if line.strip():
            yield number, line


def object_of(line: bytes) -> dict[str, Any]:
    """The JSON object that a line holds. Raises `ValueError` with the reason why it holds none."""
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 (byte {error.start + 1} of the line); save the file as UTF-8") from None
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} at column {error.colno}") from None
    except (RecursionError, ValueError):  # nested too deep, or a number too long to convert
        raise ValueError("not JSON that spectui reads; give an object of three strings") from None
    if not isinstance(data, dict):
        raise ValueError('not an object; give {"task": ..., "prompt": ...}')
    return data


def checked(data: dict[str, Any], number: int, given: dict[str, int]) -> Fields:
    """The fields of the object on line `number`; remembers its id in `given`. Raises `ValueError` with the reason."""
    # Other keys are the file's own business: data sets come with answers, levels, sources.
    fields = {key: text_of(data[key], key) for key in KEYS if key in data}
    for key in ("task", "prompt"):
        if key not in fields:
            raise ValueError(f"'{key}' is missing")
    if not TASK_NAME.fullmatch(fields["task"]):
        raise ValueError(
            f"task {quoted(fields['task'])} is no short name: use up to 32 of a-z, 0-9, '_' and '-', "
            "beginning with a letter or a digit"
        )
    identity = fields.get("id")
    if identity is not None:
        if len(identity) > ID_LENGTH or not identity.isprintable():
            raise ValueError(f"id {quoted(identity)} is no id: use up to {ID_LENGTH} printable characters")
        if identity in given:
            raise ValueError(f"id {quoted(identity)} is already that of line {given[identity]}")
        given[identity] = number
    return fields


def text_of(value: object, name: str) -> str:
    """`value` if it is a text with something in it. Raises `ValueError` with the reason, calling it `name`."""
    if not isinstance(value, str):
        raise ValueError(f"'{name}' is not a string")
    if not value.strip():
        raise ValueError(f"'{name}' is empty")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError(f"'{name}' holds half of a surrogate pair, which is no character") from None
    return value


def numbered(lines: Iterable[Fields], given: dict[str, int]) -> Iterator[Prompt]:
    """A prompt for each; one without an id is called ``task-001`` and so on within its task, past ids in `given`."""
    counts: dict[str, int] = {}
    for fields in lines:
        task = fields["task"]
        identity = fields.get("id", "")
        while not identity:
            counts[task] = counts.get(task, 0) + 1
            candidate = f"{task}-{counts[task]:03d}"
            identity = "" if candidate in given else candidate
        yield Prompt(identity, task, fields["prompt"])


def quoted(text: str) -> str:
    """`text` short and on one line, for an error message."""
    return ascii(text if len(text) <= 40 else text[:37] + "...")
