"""The prompts of a run: bundled ones, or those of a user's file, all or some tasks of them.

A task is any short name; nothing here or further on knows a fixed list of tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path

from spectui.prompts.errors import PromptError
from spectui.prompts.lines import Prompt
from spectui.prompts.reading import read

BUNDLED_TASKS = ("code", "math", "logic", "chat")
"""Tasks that come with spectui, in the order they are shown and run."""

Tell = Callable[[str], None]
"""Called with one line for each kind of omission from prompts."""


def bundled(tasks: Sequence[str] | None = None, per_task: int | None = None) -> list[Prompt]:
    """The bundled prompts, task after task, the first `per_task` of each.

    Without `tasks` every bundled task. Raises `PromptError` for a task there is none of.
    """
    chosen = tuple(dict.fromkeys(tasks)) if tasks is not None else BUNDLED_TASKS
    unknown = [task for task in chosen if task not in BUNDLED_TASKS]
    if unknown:
        raise PromptError(f"there is no bundled task '{unknown[0]}'; choose from {', '.join(BUNDLED_TASKS)}")
    prompts: list[Prompt] = []
    for task in chosen:
        with resources.as_file(resources.files(__package__).joinpath(f"{task}.jsonl")) as path:
            prompts += first_of_each_task(load(path), per_task)
    return prompts


def load(path: str | Path, tell: Tell | None = None) -> list[Prompt]:
    """Every prompt of a file, in its order; docs/how-to/prompts.md says of which kinds it may be.

    One without an id gets ``task-001``, numbered within its task. Raises `PromptError`, as ``FILE:LINE: reason``
    where a line is at fault, before anything is returned.
    """
    return _load(path, None, None, tell)


def problems(path: str | Path) -> list[str]:
    """Everything wrong with a file, one line each; empty when `load` would take it."""
    reading = read(path)
    return [problem.describe(reading.name) for problem in reading.problems]


def select(
    file: str | Path | None, tasks: str | None, per_task: int | None, tell: Tell | None = None
) -> list[Prompt]:
    """The prompts of a run: those of `file` (None for the bundled ones) of some `tasks`.

    `tasks` is a list separated by commas, None for all; `per_task` keeps the first of each task.
    Raises `PromptError` for a task that there is none of, for a list without any, and as `load` does.
    """
    wanted = None if tasks is None else [task.strip() for task in tasks.split(",") if task.strip()]
    if wanted == []:
        raise PromptError("--tasks names no task; leave it out for all of them")
    if file is None:
        return bundled(wanted, per_task)
    return _load(file, wanted, per_task, tell)


def _load(
    path: str | Path, wanted: Sequence[str] | None, per_task: int | None, tell: Tell | None
) -> list[Prompt]:
    _check_per_task(per_task)
    reading = read(path, only=wanted, per_task=per_task, first_problem=True)
    if reading.problems:
        raise PromptError(reading.problems[0].describe(reading.name))
    for task in wanted or []:
        if task not in reading.tasks:
            raise PromptError(f"{reading.name} has no task '{task}'; it has {', '.join(reading.tasks)}")
    if tell is not None:
        for note in reading.note_lines():
            tell(note)
    return reading.prompts


def first_of_each_task(prompts: Sequence[Prompt], per_task: int | None) -> list[Prompt]:
    """The first `per_task` prompts of every task, order kept; all of them for None.

    Raises `PromptError` when `per_task` is below 1.
    """
    if per_task is None:
        return list(prompts)
    _check_per_task(per_task)
    seen: dict[str, int] = {}
    kept = []
    for prompt in prompts:
        seen[prompt.task] = seen.get(prompt.task, 0) + 1
        if seen[prompt.task] <= per_task:
            kept.append(prompt)
    return kept


def _check_per_task(per_task: int | None) -> None:
    if per_task is not None and per_task < 1:
        raise PromptError(f"--per-task is {per_task}; it must be at least 1")


def interleave(prompts: Sequence[Prompt]) -> list[Prompt]:
    """The prompts round-robin over their tasks, so that the figures of all tasks fill evenly.

    Tasks take turns in the order they first appear; within a task the order is kept.
    """
    queues: dict[str, list[Prompt]] = {}
    for prompt in prompts:
        queues.setdefault(prompt.task, []).append(prompt)
    taken: list[Prompt] = []
    waiting, turn = list(queues.values()), 0
    while waiting:
        taken += [queue[turn] for queue in waiting]
        turn += 1
        waiting = [queue for queue in waiting if len(queue) > turn]
    return taken
