"""Prompts out of the files of public benchmarks, plain or gzipped, a JSON object per line.

| format | a line is | id | task |
|---|---|---|---|
| `humaneval` | ``{"task_id", "prompt", "entry_point", "canonical_solution", "test"}`` | ``task_id`` | ``code`` |
| `gsm8k` | ``{"question", "answer"}`` | ``gsm8k-0001``, by line | ``math`` |
| `mt-bench` | ``{"question_id", "category", "turns", "reference"}`` | ``mt-bench-81`` | the category |
| `spec-bench` | ``{"question_id", "category", "turns"}`` | ``spec-bench-81`` | the category, see `MT_BENCH` |
| `jsonl` | ``{"prompt"}``, perhaps ``"task"`` and ``"id"`` | its own | its own |

Formats: github.com/openai/human-eval, openai/grade-school-math, lm-sys/FastChat (llm_judge), hemingkx/Spec-Bench.
Texts are taken as they stand, without an instruction around them. A prompt is one turn: of several, the first.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prompts.errors import PromptError
from prompts.lines import (
    KEYS,
    TASK_NAME,
    Fields,
    Prompt,
    checked,
    numbered,
    object_of,
    quoted,
    split,
    text_of,
)
from prompts.loader import read_bytes

MT_BENCH = frozenset(
    ("writing", "roleplay", "reasoning", "math", "coding", "extraction", "stem", "humanities")
)
"""Categories that Spec-Bench takes together as ``mt_bench``, as its own evaluation does; its others stand alone."""

FURTHER_TURNS = "the turns after the first were left out, as a prompt is one turn"


@dataclass(frozen=True)
class Skipped:
    """A line that became no prompt."""

    line: int
    reason: str


@dataclass(frozen=True)
class Imported:
    """What a file held."""

    prompts: list[Prompt]
    skipped: list[Skipped]
    shortened: dict[str, int] = field(default_factory=dict)
    """What was left out of lines that did become prompts -> of how many."""


def import_file(path: str | Path, format: str, task: str | None = None) -> Imported:
    """The prompts of a benchmark's file, all under `task` where one is given.

    Lines that make no prompt, and those whose text an earlier line had, are skipped with the reason. Raises
    `PromptError` for a file that cannot be read or is of another kind, and where every line was skipped.
    """
    if task is not None and not TASK_NAME.fullmatch(task):
        raise PromptError(f"--task {quoted(task)} is no short name; use a-z, 0-9, '_' and '-', up to 32")
    if format not in FORMATS:
        raise PromptError(f"--format {quoted(format)} is none; choose from {', '.join(FORMATS)}")
    data = _read(path)
    taken: list[Fields] = []
    skipped: list[Skipped] = []
    shortened: dict[str, int] = {}
    given: dict[str, int] = {}
    texts: dict[str, int] = {}
    for number, line in split(data):
        try:
            found, left_out = FORMATS[format].read(object_of(line), number, task)
            text = found.get("prompt")
            if isinstance(text, str) and text in texts:
                raise ValueError(f"the same prompt as line {texts[text]}")
            fields = checked(found, number, given)
        except ValueError as error:
            skipped.append(Skipped(number, str(error)))
            continue
        texts[fields["prompt"]] = number
        taken.append(fields)
        if left_out:
            shortened[left_out] = shortened.get(left_out, 0) + 1
    if not taken:
        raise PromptError(_why_nothing(path, format, data, skipped))
    return Imported(list(numbered(taken, given)), skipped, shortened)


def json_lines(prompts: Sequence[Prompt], *, ascii_only: bool = False) -> str:
    """Prompts as a file that `spectui run --prompts` takes; `ascii_only` for a terminal."""
    return "".join(
        json.dumps({"id": p.id, "task": p.task, "prompt": p.text}, ensure_ascii=ascii_only) + "\n"
        for p in prompts
    )


Read = Callable[[dict[str, Any], int, str | None], tuple[dict[str, Any], str]]
"""A line's object, its number, the task asked for -> ``id``, ``task``, ``prompt`` to be checked; what was left out."""


@dataclass(frozen=True)
class Format:
    """How a benchmark's lines are read."""

    read: Read
    keys: tuple[str, ...]
    """Keys by which such a line is known."""


def _humaneval(data: dict[str, Any], _: int, task: str | None) -> tuple[dict[str, Any], str]:
    return {"id": _text(data, "task_id"), "task": task or "code", "prompt": _text(data, "prompt")}, ""


def _gsm8k(data: dict[str, Any], number: int, task: str | None) -> tuple[dict[str, Any], str]:
    return {"id": f"gsm8k-{number:04d}", "task": task or "math", "prompt": _text(data, "question")}, ""


def _mt_bench(data: dict[str, Any], _: int, task: str | None) -> tuple[dict[str, Any], str]:
    text, left_out = _first_turn(data)
    return {"id": _question("mt-bench", data), "task": task or _category(data), "prompt": text}, left_out


def _spec_bench(data: dict[str, Any], _: int, task: str | None) -> tuple[dict[str, Any], str]:
    text, left_out = _first_turn(data)
    category = task or _category(data)
    if not task and category in MT_BENCH:
        category = "mt_bench"
    return {"id": _question("spec-bench", data), "task": category, "prompt": text}, left_out


def _jsonl(data: dict[str, Any], _: int, task: str | None) -> tuple[dict[str, Any], str]:
    found = {key: data[key] for key in KEYS if key in data}
    if task:
        found["task"] = task
    elif "task" not in found:
        raise ValueError("'task' is missing; --task names one for all lines")
    return found, ""


FORMATS = {
    "humaneval": Format(_humaneval, ("task_id", "prompt", "entry_point")),
    "gsm8k": Format(_gsm8k, ("question", "answer")),
    "mt-bench": Format(_mt_bench, ("question_id", "category", "turns")),
    "spec-bench": Format(_spec_bench, ("question_id", "category", "turns")),
    "jsonl": Format(_jsonl, ("task", "prompt")),
}


def _text(data: dict[str, Any], key: str) -> str:
    if key not in data:
        raise ValueError(f"'{key}' is missing")
    return text_of(data[key], key)


def _question(name: str, data: dict[str, Any]) -> str:
    value = data.get("question_id")
    if isinstance(value, bool) or not isinstance(value, int | str) or value == "":
        raise ValueError(
            "'question_id' is missing" if value is None else "'question_id' is no number or name"
        )
    return f"{name}-{value}"


def _category(data: dict[str, Any]) -> str:
    return re.sub(r"[^a-z0-9_-]+", "-", _text(data, "category").strip().lower())


def _first_turn(data: dict[str, Any]) -> tuple[str, str]:
    """The first of the turns, and a word on the others."""
    turns = data.get("turns")
    if not isinstance(turns, list) or not turns:
        raise ValueError("'turns' is missing" if turns is None else "'turns' is no list of texts")
    return text_of(turns[0], "turns"), FURTHER_TURNS if len(turns) > 1 else ""


def _read(path: str | Path) -> bytes:
    """The file's lines, unpacked. Raises `PromptError` for what has none."""
    data = read_bytes(path)
    if data.startswith(b"\x1f\x8b"):
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error):
            raise PromptError(f"{path}: the gzip file is damaged; fetch it again") from None
    for magic, kind, advice in (
        (b"PAR1", "a Parquet file", "the benchmark's JSON Lines file"),
        (b"PK\x03\x04", "a zip archive", "the file in it"),
        (b"[", "one JSON list", "one object a line, as: jq -c '.[]'"),
    ):
        if data.lstrip().startswith(magic):
            raise PromptError(f"{path}: this is {kind}; give {advice}")
    return data


def _why_nothing(path: str | Path, format: str, data: bytes, skipped: Sequence[Skipped]) -> str:
    """One line on why a file gave no prompt, with the formats its first object looks like."""
    if not skipped:
        return f"{path}: no prompts in it; it has no line"
    said = f"{path}: no line is a prompt of {format}; line {skipped[0].line}: {skipped[0].reason}"
    for _, line in split(data):
        try:
            found = object_of(line)
        except ValueError:
            continue
        like = [name for name, known in FORMATS.items() if all(key in found for key in known.keys)]
        if like and format not in like:
            said += f"; it looks like --format {' or '.join(like)}"
        break
    return said
