"""Import of prompt files: lines that make no prompt are left out, each with its reason.

A file is known by what it holds (`prompts.shapes`). A format may be named instead, and then holds for every record:

| format | a record is | id | task |
|---|---|---|---|
| `humaneval` | ``{"task_id", "prompt", "entry_point", "canonical_solution", "test"}`` | ``task_id`` | ``code`` |
| `gsm8k` | ``{"question", "answer"}`` | ``gsm8k-0001``, by line | ``math`` |
| `mt-bench` | ``{"question_id", "category", "turns", "reference"}`` | ``mt-bench-81`` | the category |
| `spec-bench` | ``{"question_id", "category", "turns"}`` | ``spec-bench-81`` | the category, see `MT_BENCH` |
| `speed-bench` | ``{"question_id", "category", "turns"}``, or ``"messages"`` | its own | the category |
| `jsonl` | ``{"prompt"}`` or ``{"messages"}``, perhaps ``"task"`` and ``"id"`` | its own | its own |

Formats: github.com/openai/human-eval, openai/grade-school-math, lm-sys/FastChat (llm_judge), hemingkx/Spec-Bench;
SPEED-Bench as `prepare_data.py` of NVIDIA/Model-Optimizer writes it (Parquet), and `prepare.py` of NVIDIA-NeMo/Skills
(JSON Lines).
Texts are taken as they stand, without an instruction around them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spectui.prompts.chat import USER, messages_of, objects
from spectui.prompts.errors import PromptError
from spectui.prompts.lines import TASK_NAME, Message, Prompt, id_of, quoted, task_like, text_of
from spectui.prompts.reading import Problem, Reading, read
from spectui.prompts.shapes import FURTHER_TURNS, RawPrompt, check_resolved, read_prompt

MT_BENCH = frozenset(
    ("writing", "roleplay", "reasoning", "math", "coding", "extraction", "stem", "humanities")
)
"""Categories that Spec-Bench takes together as ``mt_bench``, as its own evaluation does; its others stand alone."""


@dataclass(frozen=True)
class Skipped:
    """A line that became no prompt."""

    line: int
    reason: str


@dataclass(frozen=True)
class Imported:
    """The prompts of a file, and the lines that made none."""

    prompts: list[Prompt]
    skipped: list[Skipped]
    """The first `prompts.reading.MAX_PROBLEMS` of them."""
    shortened: dict[str, int] = field(default_factory=dict)
    """Changes to records that became prompts -> the number of records."""
    more_skipped: int = 0
    """The number of further ones."""


def import_file(path: str | Path, format: str | None = None, task: str | None = None) -> Imported:
    """The prompts of a file, of one of `FORMATS` where it is named; all under `task` where one is given.

    Records that make no prompt, and those whose text an earlier one had, are skipped with the reason. Raises
    `PromptError` for a file that cannot be read to its end, and where every record was skipped.
    """
    if task is not None and not TASK_NAME.fullmatch(task):
        raise PromptError(f"--task {quoted(task)} is not a valid name; use a-z, 0-9, '_' and '-', up to 32")
    if format is not None and format not in FORMATS:
        raise PromptError(f"--format {quoted(format)} is unknown; choose from {', '.join(FORMATS)}")
    first: list[Any] = []

    def shape(value: Any, line: int) -> RawPrompt:
        if not first:
            first.append(value)
        if format is None:
            return read_prompt(value)
        if not isinstance(value, dict):
            raise ValueError('not an object; give {"task": ..., "prompt": ...}')
        raw = FORMATS[format].read(value, line)
        if format == "jsonl" and not raw.task and not task:
            raise ValueError("'task' is missing; --task names one for all lines")
        return raw

    reading = read(path, task=task, shape=shape, once=True)
    if reading.fatal is not None:
        raise PromptError(reading.fatal.describe(reading.name))
    if not reading.prompts:
        raise PromptError(_explain_nothing(reading, reading.problems[0], format, first))
    skipped = [Skipped(problem.line, problem.reason_in_place) for problem in reading.problems]
    return Imported(reading.prompts, skipped, reading.notes, reading.more_problems)


def prompt_object(prompt: Prompt) -> dict[str, Any]:
    """A prompt as an object of our own files: with ``messages`` where it is a conversation, else ``prompt``."""
    asked = {"prompt": prompt.text} if prompt.messages is None else {"messages": objects(prompt.messages)}
    return {"id": prompt.id, "task": prompt.task, **asked}


def json_lines(prompts: Sequence[Prompt], *, ascii_only: bool = False) -> str:
    """Prompts as a file that `spectui run --prompts` takes; `ascii_only` for a terminal."""
    return "".join(json.dumps(prompt_object(p), ensure_ascii=ascii_only) + "\n" for p in prompts)


@dataclass(frozen=True)
class Format:
    """The reader of a benchmark's records."""

    read: Callable[[dict[str, Any], int], RawPrompt]
    """A record's object and its line -> the prompt. Raises `ValueError`."""
    keys: tuple[str, ...]
    """Keys by which such a record is known."""


def _humaneval(data: dict[str, Any], _: int) -> RawPrompt:
    identity = id_of(_text(data, "task_id"))
    return _raw_prompt(_text(data, "prompt"), identity, "code")


def _gsm8k(data: dict[str, Any], number: int) -> RawPrompt:
    return _raw_prompt(_text(data, "question"), f"gsm8k-{number:04d}", "math")


def _mt_bench(data: dict[str, Any], _: int) -> RawPrompt:
    return _questions("mt-bench", data)


def _spec_bench(data: dict[str, Any], _: int) -> RawPrompt:
    raw = _questions("spec-bench", data)
    if raw.task in MT_BENCH:
        raw.task = "mt_bench"
    return raw


def _speed_bench(data: dict[str, Any], _: int) -> RawPrompt:
    if "messages" in data:
        messages = messages_of(data["messages"], "messages")
        data = {**data, "turns": [message.content for message in messages if message.role == USER]}
    raw = _questions("speed-bench", data)
    check_resolved(raw.messages)
    raw.id = id_of(data["question_id"])  # by which results are joined with those of other tools
    return raw


def _jsonl(data: dict[str, Any], _: int) -> RawPrompt:
    if not data.keys() & {"prompt", "messages"}:
        raise ValueError("'prompt' is missing")
    return read_prompt({key: data[key] for key in ("id", "task", "prompt", "messages") if key in data})


FORMATS = {
    "humaneval": Format(_humaneval, ("task_id", "prompt", "entry_point")),
    "gsm8k": Format(_gsm8k, ("question", "answer")),
    "mt-bench": Format(_mt_bench, ("question_id", "category", "turns")),
    "spec-bench": Format(_spec_bench, ("question_id", "category", "turns")),
    "speed-bench": Format(_speed_bench, ("question_id", "category", "multiturn")),
    "jsonl": Format(_jsonl, ("task", "prompt")),
}


def _raw_prompt(text: str, identity: str, task: str | None, notes: tuple[str, ...] = ()) -> RawPrompt:
    return RawPrompt([Message(USER, text)], identity, task, notes)


def _text(data: dict[str, Any], key: str) -> str:
    if key not in data:
        raise ValueError(f"'{key}' is missing")
    return text_of(data[key], key)


def _questions(name: str, data: dict[str, Any]) -> RawPrompt:
    """A question of several turns, of which the first is taken, under its category where it has one."""
    turns = data.get("turns")
    if not isinstance(turns, list) or not turns:
        raise ValueError("'turns' is missing" if turns is None else "'turns' is not a list of texts")
    text = text_of(turns[0], "turns")
    value = data.get("question_id")
    if isinstance(value, bool) or not isinstance(value, int | str) or value == "":
        raise ValueError(
            "'question_id' is missing" if value is None else "'question_id' is neither a number nor a name"
        )
    if "category" not in data:
        raise ValueError("'category' is missing")
    notes = (FURTHER_TURNS,) if len(turns) > 1 else ()
    return _raw_prompt(text, id_of(f"{name}-{value}"), task_like(data["category"]), notes)


def _explain_nothing(reading: Reading, problem: Problem, format: str | None, first: Sequence[Any]) -> str:
    """One line on why a file gave no prompt, with the formats its first object looks like."""
    kind = "line is a prompt" if format is None else f"line is a prompt of {format}"
    message = f"{reading.name}: no {kind}; line {problem.line}: {problem.reason_in_place}"
    for record in first:
        keys = record.keys() if isinstance(record, dict) else ()
        like = [name for name, known in FORMATS.items() if all(key in keys for key in known.keys)]
        if like and format is not None and format not in like:
            message += f"; it looks like --format {' or '.join(like)}"
    return message
