"""The reader of prompt files, for runs, checks and imports: records, their prompts, and all problems."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from spectui.prompts.lines import Fields, Prompt, numbered, quoted
from spectui.prompts.parquet import is_parquet, rows
from spectui.prompts.records import PLAIN, Record, layout_of, records
from spectui.prompts.shapes import RawPrompt, contained_records, read_prompt
from spectui.prompts.source import BadFile, name_of, opened

MAX_PROMPTS = 250_000
MAX_TEXT = 128 << 20
"""Most bytes of memory that the texts of a file may take."""
MAX_RECORDS = 1_000_000
MAX_TASKS = 1000
MAX_PROBLEMS = 1000
"""The number of problems that are listed; further ones are counted."""

FEWER = "take fewer, with --per-task N, or give a part of the file"

ONE_TASK = "put all under one: spectui prompts import FILE --task NAME --out NEW"

Shape = Callable[[Any, int], RawPrompt]
"""A record's value and its line -> the prompt that it is; raises `ValueError`."""


@dataclass(frozen=True)
class Problem:
    """The reason that a record, or the whole file, gives no prompt."""

    line: int
    """From 1; 0 for the file."""
    reason: str
    item: int | None = None
    """Its place in a list, from 1."""

    @property
    def reason_in_place(self) -> str:
        """The reason, with the place in the list before it."""
        return self.reason if self.item is None else f"item {self.item}: {self.reason}"

    def describe(self, name: str) -> str:
        """One line, with the file's name and the place in it."""
        return (
            f"{name}:{self.line}: {self.reason_in_place}" if self.line else f"{name}: {self.reason_in_place}"
        )


@dataclass
class Reading:
    """The contents of a prompt file: prompts, problems and notes."""

    name: str
    """The file's, for messages."""
    layout: str = ""
    prompts: list[Prompt] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    """The first `MAX_PROBLEMS`; where `fatal` is set it is the last of them."""
    more_problems: int = 0
    fatal: Problem | None = None
    """The reason that the file could not be read to its end."""
    notes: dict[str, int] = field(default_factory=dict)
    """Changes to prompts -> the number of prompts."""
    tasks: list[str] = field(default_factory=list)
    """All tasks of the file, whether wanted or not."""

    def note_lines(self) -> list[str]:
        """The notes as text, a line each."""
        total = len(self.prompts)
        return [
            f"{self.name}: {note}" + (f" ({count} of {total} prompts)" if count else "")
            for note, count in self.notes.items()
        ]


def read(
    path: str | Path,
    *,
    task: str | None = None,
    shape: Shape | None = None,
    only: Collection[str] | None = None,
    per_task: int | None = None,
    once: bool = False,
    first_problem: bool = False,
) -> Reading:
    """Every prompt of a file, in its order, and every problem with it; never raises for what the file holds.

    `path` may be a file, a pipe or `prompts.source.STDIN`. All go under `task` where one is given. `shape` reads
    records of one known format. `only` names the tasks to keep, `per_task` how many of each. `once` makes a
    problem of a text that came before. With `first_problem` it stops at that.
    """
    reading = Reading(name_of(path))
    reader = _Reader(reading, task, shape, only, per_task, once)
    try:
        for record in islice(_parts(_records(path, reading)), MAX_RECORDS + 1):
            reader.take(record)
            if first_problem and reading.problems:
                return reading
    except BadFile as error:
        reading.fatal = Problem(error.line, str(error))
        reading.problems.append(reading.fatal)
        return reading
    if not reader.count:
        reading.fatal = Problem(0, 'no prompts in it; give one {"task": ..., "prompt": ...} per line')
        reading.problems.append(reading.fatal)
    elif reading.layout == "plain":
        reading.notes[PLAIN] = 0
    reading.prompts = list(numbered(reader.kept, reader.ids))
    return reading


def _records(path: str | Path, reading: Reading) -> Iterator[Record]:
    if is_parquet(path):
        reading.layout = "parquet"
        yield from rows(path)
        return
    with opened(path) as source:
        layout = layout_of(source.head)
        reading.layout = layout.kind
        yield from records(source, layout)


def _parts(records: Iterator[Record]) -> Iterator[Record]:
    """Records; in place of an object that holds a list of them, each of those."""
    for record in records:
        inner = contained_records(record.value)
        if inner is None:
            yield record
        else:
            for item, value in enumerate(inner, 1):
                yield Record(record.line, value, item)


class _Reader:
    """Turns record after record into prompts or problems."""

    def __init__(
        self,
        reading: Reading,
        task: str | None,
        shape: Shape | None,
        only: Collection[str] | None,
        per_task: int | None,
        once: bool,
    ) -> None:
        self._reading = reading
        self._task = task
        self._shape = shape or (lambda value, line: read_prompt(value))
        self._only = only
        self._per_task = per_task
        self._once = once
        self._texts: dict[int, int] = {}
        self._size = 0
        self._counts: dict[str, int] = {}
        self.count = 0
        self.ids: dict[str, int] = {}
        """Ids of the whole file, kept or not: one that is numbered must not be that of one further down."""
        self.kept: list[Fields] = []

    def take(self, record: Record) -> None:
        """Takes one record. Raises `BadFile` when there is too much."""
        self.count += 1
        if self.count > MAX_RECORDS:
            raise BadFile(f"more than {MAX_RECORDS} records; give a part of the file", record.line)
        try:
            if record.error is not None:
                raise ValueError(record.error)
            raw = self._shape(record.value, record.line)
            fields = self._checked(raw, record.line)
        except (ValueError, RecursionError) as error:
            problems = self._reading.problems
            reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
            if len(problems) < MAX_PROBLEMS:
                problems.append(Problem(record.line, reason, record.item))
            else:
                self._reading.more_problems += 1
            return
        if self._wanted(fields.task):
            self._keep(fields, record.line)
            for note in raw.notes:
                self._reading.notes[note] = self._reading.notes.get(note, 0) + 1

    def _checked(self, raw: RawPrompt, line: int) -> Fields:
        fields = raw.fields(self._task)
        if self._once:
            # The hash alone: texts may be many and long.
            key = hash(fields.text)
            if key in self._texts:
                raise ValueError(f"the same prompt as line {self._texts[key]}")
        if fields.id is not None:
            if fields.id not in self.ids:
                self.ids[fields.id] = line
            elif raw.id_is_unique:
                raise ValueError(f"id {quoted(fields.id)} is already that of line {self.ids[fields.id]}")
            else:
                fields = replace(fields, id=None)
        if self._once:
            self._texts[key] = line
        return fields

    def _wanted(self, task: str) -> bool:
        if task not in self._counts:
            if len(self._counts) == MAX_TASKS:
                raise BadFile(f"more than {MAX_TASKS} tasks; {ONE_TASK}")
            self._counts[task] = 0
            self._reading.tasks.append(task)
        if self._only is not None and task not in self._only:
            return False
        self._counts[task] += 1
        return self._per_task is None or self._counts[task] <= self._per_task

    def _keep(self, fields: Fields, line: int) -> None:
        self.kept.append(fields)
        self._size += sys.getsizeof(fields.text)
        self._size += sum(sys.getsizeof(message.content) + 100 for message in fields.messages or ())
        if len(self.kept) > MAX_PROMPTS:
            raise BadFile(f"more than {MAX_PROMPTS} prompts; {FEWER}", line)
        if self._size > MAX_TEXT:
            raise BadFile(f"its prompts take more than {MAX_TEXT >> 20} MiB; {FEWER}", line)
