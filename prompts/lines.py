"""Prompts and messages, and the rules for ids, tasks and texts. Errors say what is wrong in a few words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

TASK_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
"""Allowed names of tasks: short enough for a column, plain enough for a file name."""

ID_LENGTH = 64
"""Most characters of a prompt id."""

DEFAULT_TASK = "prompts"
"""The task of prompts that name none."""


class Message(NamedTuple):
    """One turn of a conversation."""

    role: str
    content: str


@dataclass(frozen=True)
class Prompt:
    """One thing to ask a model."""

    id: str
    """Unique within a run."""
    task: str
    """The kind of text it asks for; figures are kept per task."""
    text: str
    """The text of the user, before any chat template; of a conversation, all of it as readable text."""
    messages: tuple[Message, ...] | None = None
    """The conversation, to go through the chat template; None for the one turn of a user that `text` is."""

    @property
    def asked(self) -> str | tuple[Message, ...]:
        """The input of a chat template."""
        return self.text if self.messages is None else self.messages


@dataclass(frozen=True)
class Fields:
    """A prompt before those without an id are numbered."""

    id: str | None
    task: str
    text: str
    messages: tuple[Message, ...] | None = None


def text_of(value: object, name: str) -> str:
    """`value` if it is a text with something in it. Raises `ValueError` with the reason, calling it `name`."""
    if not isinstance(value, str):
        raise ValueError(f"'{name}' is not a string")
    if not value.strip():
        raise ValueError(f"'{name}' is empty")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError(f"'{name}' holds half of a surrogate pair, which is not a character") from None
    return value


def task_of(value: object) -> str:
    """`value` if it is the name of a task. Raises `ValueError` with the reason."""
    task = text_of(value, "task")
    if not TASK_NAME.fullmatch(task):
        raise ValueError(
            f"task {quoted(task)} is not a valid name: use up to 32 of a-z, 0-9, '_' and '-', "
            "beginning with a letter or a digit"
        )
    return task


def task_like(value: object) -> str | None:
    """The name of a task nearest to `value`, such as ``math-reasoning`` for "Math Reasoning"; None if there is none."""
    if not isinstance(value, str):
        return None
    short = re.sub(r"[^a-z0-9_-]+", "-", value[:200].lower()).lstrip("_-")[:32].rstrip("-")
    return short or None


def id_of(value: object) -> str:
    """`value` as an id. Raises `ValueError` with the reason."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**18:
        return str(value)
    identity = text_of(value, "id")
    if len(identity) > ID_LENGTH or not identity.isprintable():
        raise ValueError(
            f"id {quoted(identity)} is not a valid id: use up to {ID_LENGTH} printable characters"
        )
    return identity


def numbered(lines: Iterable[Fields], taken_ids: Iterable[str]) -> Iterator[Prompt]:
    """A prompt for each; one without an id is called ``task-001`` and so on within its task, past ids in `given`."""
    taken = taken_ids if isinstance(taken_ids, dict | set) else set(taken_ids)
    counts: dict[str, int] = {}
    for fields in lines:
        identity = fields.id or ""
        while not identity:
            counts[fields.task] = counts.get(fields.task, 0) + 1
            candidate = f"{fields.task}-{counts[fields.task]:03d}"
            identity = "" if candidate in taken else candidate
        yield Prompt(identity, fields.task, fields.text, fields.messages)


def quoted(text: str) -> str:
    """`text` short and on one line, for an error message."""
    return ascii(text if len(text) <= 40 else text[:37] + "...")
