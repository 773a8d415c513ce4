"""The answers of several sessions to the same prompts, side by side, from where they differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile, zip_longest

from spectui.store.reading.reader import Reader
from spectui.tui.model.transcript import Transcript
from spectui.tui.terminal.cells import fit
from spectui.tui.terminal.textsafe import sanitize
from spectui.tui.widgets.rows import Cell, Row, Rows, row_width

GAP = 2
"""Cells between two outputs."""
ROLES: Mapping[str, str] = {"accepted": "muted", "target": "strong marked", "note": "text"}
"""The roles of an output's parts, by the transcript's kinds: in common, first difference, the rest."""
NONE_YET = "No output."


@dataclass(frozen=True)
class Answers:
    """One prompt that the first session and at least one other ran, with the answer of each."""

    task: str
    prompt: str
    outputs: tuple[str | None, ...]
    """One a session, None where it has none."""

    @cached_property
    def differs_at(self) -> int | None:
        """Characters that all outputs begin with; None when those there are read the same."""
        known = [output for output in self.outputs if output is not None]
        parts = [place for other in known[1:] if (place := first_difference(known[0], other)) is not None]
        return min(parts, default=None)


def first_difference(one: str, other: str) -> int | None:
    """The place at which two texts begin to differ; None when they are the same."""
    if one == other:
        return None
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def read_answers(reader: Reader, sessions: Sequence[int]) -> list[Answers]:
    """The prompts that the first session shares with another, in its order. Raises `StoreError`.

    Prompts are the same when task and text are; the n-th of one session goes with the n-th of another.
    """
    by_session: list[dict[tuple[str, str, int], str | None]] = []
    for session in sessions:
        seen: dict[tuple[str, str], int] = {}
        outputs: dict[tuple[str, str, int], str | None] = {}
        for row in reader.generations(session):
            key = (row.task, row.prompt_text)
            seen[key] = seen.get(key, 0) + 1
            outputs[*key, seen[key]] = row.output or None
        by_session.append(outputs)
    first, *others = by_session
    return [
        Answers(key[0], key[1], tuple(outputs.get(key) for outputs in by_session))
        for key in first
        if any(key in outputs for outputs in others)
    ]


class Outputs(Rows, can_focus=True):
    """The answers to one prompt, a column a session; what they have in common is dim."""

    DEFAULT_CSS = "Outputs { scrollbar-gutter: stable; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._answers: Answers | None = None
        self._names: tuple[Cell, ...] = ()
        self.mark = 0
        """The row of the first difference."""

    def show(self, answers: Answers | None, names: Sequence[Cell]) -> None:
        """Draw the answers to a prompt under the sessions' names, from where they part."""
        self._answers, self._names = answers, tuple(names)
        self._draw()
        self.scroll_to(y=max(self.mark - self.size.height // 2, 0), animate=False)

    def on_resize(self) -> None:
        """Wrap to the new width."""
        self._draw()

    def _draw(self) -> None:
        answers = self._answers
        if answers is None or not self.room:
            self.set_rows([])
            return
        width = max((self.room - GAP * (len(self._names) - 1)) // len(self._names), 1)
        rows: list[Row] = [((fit(sanitize(answers.prompt).split("\n")[0], self.room), "note"),)]
        rows.append(_beside([((fit(text, width), role),) for text, role in self._names], width))
        columns = [_column(output, answers.differs_at, width) for output in answers.outputs]
        self.mark = len(rows) + min((mark for _, mark in columns if mark is not None), default=0)
        rows += [_beside(row, width) for row in zip_longest(*(lines for lines, _ in columns), fillvalue=())]
        self.set_rows(rows)


def _column(output: str | None, part: int | None, width: int) -> tuple[list[Row], int | None]:
    """An output as rows of `width` cells, and the row in which it parts from the others."""
    if output is None:
        return [((NONE_YET, "muted"),)], None
    transcript = Transcript(width)
    same = len(output) if part is None else part
    rest = output[same:]
    word = len(rest) - len(rest.lstrip())
    end = word + len(rest.lstrip().split(None, 1)[0]) if rest.strip() else len(rest)
    for kind, text in (("accepted", output[:same]), ("target", rest[:end]), ("note", rest[end:])):
        if text:
            transcript.append(kind, sanitize(text), 0)
    rows = [
        tuple((text, ROLES[kind]) for kind, text, _ in transcript.line(y))
        for y in range(transcript.line_count)
    ]
    mark = next((y for y, row in enumerate(rows) if any(role == ROLES["target"] for _, role in row)), None)
    if part is not None and not rest:
        rows.append((("(ends here)", ROLES["target"]),))
        mark = len(rows) - 1
    return rows, mark


def _beside(rows: Sequence[Row], width: int) -> Row:
    cells: list[Cell] = []
    for place, row in enumerate(rows):
        last = place == len(rows) - 1
        pad = 0 if last else max(width - row_width(row), 0) + GAP
        cells += [*row, *([(" " * pad, "text")] if pad else [])]
    return tuple(cells)
