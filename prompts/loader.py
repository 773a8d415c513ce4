"""Prompts from JSON Lines: a line is an object ``{"id": "code-001", "task": "code", "prompt": "..."}``.

The bundled files and those of users go through the same reader. A task is any short name; nothing
here or further on knows a fixed list of tasks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path

from prompts.errors import PromptError
from prompts.lines import Fields, Prompt, checked, numbered, object_of, split

BUNDLED_TASKS = ("code", "math", "logic", "chat")
"""Tasks that come with spectui, in the order they are shown and run."""


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
    return _all_or_error(read_bytes(path), str(path))


def problems(path: str | Path) -> list[str]:
    """Everything wrong with a file, one line each; empty when `load` would take it."""
    try:
        data = read_bytes(path)
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


def read_bytes(path: str | Path) -> bytes:
    """The file's bytes. Raises `PromptError` when it cannot be read."""
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
    parsed: list[Fields | PromptError] = []
    for number, line in split(data):
        try:
            parsed.append(checked(object_of(line), number, given))
        except ValueError as error:
            parsed.append(PromptError(f"{name}:{number}: {error}"))
    if not parsed:
        yield PromptError(f'{name}: no prompts in it; give one {{"task": ..., "prompt": ...}} per line')
    prompts = numbered((item for item in parsed if not isinstance(item, PromptError)), given)
    for item in parsed:
        yield item if isinstance(item, PromptError) else next(prompts)
