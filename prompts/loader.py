"""Prompts from JSON Lines: a line is an object ``{"id": "code-001", "task": "code", "prompt": "..."}``.

The bundled files and those of users go through the same reader. A task is any short name; nothing
here or further on knows a fixed list of tasks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from prompts.errors import PromptError

BUNDLED_TASKS = ("code", "math", "logic", "chat")
"""Tasks that come with spectui, in the order they are shown and run."""

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


def bundled(tasks: Sequence[str] | None = None, per_task: int | None = None) -> list[Prompt]:
    """The prompts that come with spectui, task after task, the first `per_task` of each.

    Without `tasks` every bundled task. Raises `PromptError` for a task there is none of.
    """
    chosen = tuple(dict.fromkeys(tasks)) if tasks is not None else BUNDLED_TASKS
    unknown = [task for task in chosen if task not in BUNDLED_TASKS]
    if unknown:
        raise PromptError(f"there is no bundled task '{unknown[0]}'; choose from {', '.join(BUNDLED_TASKS)}")
    prompts: list[Prompt] = []
    for task in chosen:
        name = f"{task}.jsonl"
        data = resources.files("prompts").joinpath(name).read_bytes()
        prompts += first_of_each_task(_all_or_error(data, name), per_task)
    return prompts


def load(path: str | Path) -> list[Prompt]:
    """Every prompt of a file, in its order.

    A line without an ``id`` gets ``task-001``, numbered within its task. Raises `PromptError`,
    as ``FILE:LINE: reason`` where a line is at fault, before anything is returned.
    """
    return _all_or_error(_read(path), str(path))


def problems(path: str | Path) -> list[str]:
    """Everything wrong with a file, one line each; empty when `load` would take it."""
    try:
        data = _read(path)
    except PromptError as error:
        return [str(error)]
    return [str(item) for item in _items(data, str(path)) if isinstance(item, PromptError)]


def select(file: str | Path | None, tasks: str | None, per_task: int | None) -> list[Prompt]:
    """What a run is asked to do: the prompts of `file` (None for the bundled ones) of some `tasks`.

    `tasks` is a list separated by commas, None for all; `per_task` keeps the first of each task.
    Raises `PromptError` for a task that there is none of, for a list without any, and as `load` does.
    """
    wanted = None if tasks is None else [task.strip() for task in tasks.split(",") if task.strip()]
    if wanted == []:
        raise PromptError("--tasks names no task; leave it out for all of them")
    if file is None:
        return bundled(wanted, per_task)
    found = load(file)
    present = list(dict.fromkeys(prompt.task for prompt in found))
    for task in wanted or []:
        if task not in present:
            raise PromptError(f"{file} has no task '{task}'; it has {', '.join(present)}")
    return first_of_each_task([p for p in found if wanted is None or p.task in wanted], per_task)


def first_of_each_task(prompts: Sequence[Prompt], per_task: int | None) -> list[Prompt]:
    """The first `per_task` prompts of every task, order kept; all of them for None.

    Raises `PromptError` when `per_task` is below 1.
    """
    if per_task is None:
        return list(prompts)
    if per_task < 1:
        raise PromptError(f"--per-task is {per_task}; it must be at least 1")
    seen: dict[str, int] = {}
    kept = []
    for prompt in prompts:
        seen[prompt.task] = seen.get(prompt.task, 0) + 1
        if seen[prompt.task] <= per_task:
            kept.append(prompt)
    return kept


def interleave(prompts: Sequence[Prompt]) -> list[Prompt]:
    """The prompts round-robin over their tasks, so that the figures of all tasks fill evenly.

    Tasks take turns in the order they first appear; within a task the order is kept.
    """
    queues: dict[str, list[Prompt]] = {}
    for prompt in prompts:
        queues.setdefault(prompt.task, []).append(prompt)
    longest = max(map(len, queues.values()), default=0)
    return [queue[i] for i in range(longest) for queue in queues.values() if i < len(queue)]


def _read(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise PromptError(f"{path}: no such file") from None
    except OSError as error:
        raise PromptError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError:  # a NUL in the name
        raise PromptError(f"{path!r}: not a file name") from None


def _all_or_error(data: bytes, name: str) -> list[Prompt]:
    prompts = []
    for item in _items(data, name):
        if isinstance(item, PromptError):
            raise item
        prompts.append(item)
    return prompts


def _items(data: bytes, name: str) -> Iterator[Prompt | PromptError]:
    """What each line holds: a prompt, or why it holds none. A file without any line is one error."""
    # Taken ids of the whole file first: a numbered id must not collide with one given further down.
    given: dict[str, int] = {}
    parsed: list[tuple[int, dict[str, str] | PromptError]] = []
    # Split on LF alone: JSON strings may hold U+2028 and the like, at which splitlines() would cut.
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            parsed.append((number, _fields(line, number, given)))
        except ValueError as error:
            parsed.append((number, PromptError(f"{name}:{number}: {error}")))
    if not parsed:
        yield PromptError(f'{name}: no prompts in it; give one {{"task": ..., "prompt": ...}} per line')
    counts: dict[str, int] = {}
    for _, item in parsed:
        if isinstance(item, PromptError):
            yield item
            continue
        task = item["task"]
        identity = item.get("id", "")
        while not identity:
            counts[task] = counts.get(task, 0) + 1
            candidate = f"{task}-{counts[task]:03d}"
            identity = "" if candidate in given else candidate
        yield Prompt(identity, task, item["prompt"])


def _fields(line: bytes, number: int, given: dict[str, int]) -> dict[str, str]:
    """The checked fields of one line; remembers its id in `given`. Raises `ValueError` with the reason."""
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
    # Other keys are the file's own business: data sets come with answers, levels, sources.
    fields = {key: data[key] for key in KEYS if key in data}
    for key, value in fields.items():
        if not isinstance(value, str):
            raise ValueError(f"'{key}' is not a string")
        if not value.strip():
            raise ValueError(f"'{key}' is empty")
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise ValueError(f"'{key}' holds half of a surrogate pair, which is no character") from None
    for key in ("task", "prompt"):
        if key not in fields:
            raise ValueError(f"'{key}' is missing")
    if not TASK_NAME.fullmatch(fields["task"]):
        raise ValueError(
            f"task {_quoted(fields['task'])} is no short name: use up to 32 of a-z, 0-9, '_' and '-', "
            "beginning with a letter or a digit"
        )
    identity = fields.get("id")
    if identity is not None:
        if len(identity) > ID_LENGTH or not identity.isprintable():
            raise ValueError(f"id {_quoted(identity)} is no id: use up to {ID_LENGTH} printable characters")
        if identity in given:
            raise ValueError(f"id {_quoted(identity)} is already that of line {given[identity]}")
        given[identity] = number
    return fields


def _quoted(text: str) -> str:
    """`text` short and on one line, for an error message."""
    return ascii(text if len(text) <= 40 else text[:37] + "...")
