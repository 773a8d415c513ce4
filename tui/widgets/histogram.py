"""Per-task histograms: accepted length of a round, and acceptance by depth. Eighth blocks, no axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from store.rows import Interval, TaskFigures
from tui.cells import NOTHING, bar, fit, number, share, short_count
from tui.textsafe import sanitize_line
from tui.theme import task_slots
from tui.widgets.rows import Cell, Row, Rows

Chart = Literal["length", "depth"]

TITLES: dict[Chart, str] = {"length": "accepted length", "depth": "acceptance by depth"}
TWO_ABREAST = 66
GAP = 3
"""Cells from which two tasks fit side by side, and cells between them."""

NOTES: dict[Chart, str] = {
    "length": "n rounds  α match rate  E mean",
    "depth": "h goes on to this depth  S gets there",
}


class Histogram(Rows, can_focus=True):
    """One block of bars a task, as many tasks as the session has; scrolls when they do not fit."""

    DEFAULT_CSS = "Histogram { scrollbar-gutter: stable; }"

    def __init__(self, chart: Chart, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.chart: Chart = chart
        self._figures: Mapping[str, TaskFigures] = {}
        self._intervals: Mapping[str, Interval] = {}
        self._tasks: Sequence[str] = ()
        self._deepest = 0

    def show(
        self,
        figures: Mapping[str, TaskFigures],
        intervals: Mapping[str, Interval],
        tasks: Sequence[str],
    ) -> None:
        """Draw these figures; `tasks` is the session's order, tasks without figures included."""
        self._figures, self._intervals, self._tasks = figures, intervals, tasks
        # Bins are only ever added, so that blocks never move up while a run goes on.
        bins = [max((*f.lengths, *f.depths), default=0) for f in figures.values()]
        self._deepest = max([self._deepest, *bins])
        self._draw()

    def on_resize(self) -> None:
        """Draw for the new width."""
        self._draw()

    def _draw(self) -> None:
        width = self.room
        if not width or not self._tasks:
            return
        slots = task_slots(self._tasks)
        deep = self._bins + 1
        # Two tasks abreast where one below the other would have to scroll.
        abreast = 2 if deep * len(self._tasks) > self.size.height and width >= TWO_ABREAST else 1
        each = (width - GAP * (abreast - 1)) // abreast
        lines = -(-len(self._tasks) // abreast)
        roomy = self.size.height >= lines * (deep + 1) - 1
        rows: list[Row] = []
        for start in range(0, len(self._tasks), abreast):
            if rows and roomy:
                rows.append(())
            blocks = [self._block(t, f"task-{slots[t]}", each) for t in self._tasks[start : start + abreast]]
            rows += [_side_by_side(cells) for cells in zip(*blocks, strict=True)]
        self.set_rows(rows)

    @property
    def _bins(self) -> int:
        deepest = max(self._deepest, 1)
        return deepest + 1 if self.chart == "length" else deepest

    def _block(self, task: str, role: str, width: int) -> list[Row]:
        figures = self._figures.get(task)
        rows = [self._heading(task, figures, role, width)]
        if self.chart == "length":
            rows += [self._length_row(figures, i, role, width) for i in range(self._bins)]
        else:
            rows += [self._depth_row(figures, d, role, width) for d in range(1, self._bins + 1)]
        return rows

    def _heading(self, task: str, figures: TaskFigures | None, role: str, width: int) -> Row:
        interval = self._intervals.get(task)
        spread = f"±{share(interval.half_width)}" if interval else ""
        mean = number(figures.mean_accepted_length) if figures else NOTHING
        facts: list[Cell] = [
            ("n ", "muted"),
            (fit(short_count(figures.rounds if figures else 0), 5, "right"), "text"),
            ("  α ", "muted"),
            (fit(share(figures.match_rate if figures else None), 3, "right"), "text"),
            ("  E ", "muted"),
            (fit(mean, 4, "right"), "strong"),
            (" " + fit(spread, 4), "muted"),
        ]
        taken = sum(len(text) for text, _ in facts)
        if width - taken < 6:  # too narrow for all: the mean without its spread matters most
            facts = facts[4:6]
            taken = sum(len(text) for text, _ in facts)
        name = fit(sanitize_line(task), max(width - taken - 1, 1))
        return ((name + " ", f"{role}-name"), *facts)

    def _length_row(self, figures: TaskFigures | None, length: int, role: str, width: int) -> Row:
        rounds = figures.rounds if figures else 0
        here = figures.lengths.get(length, 0) if figures else 0
        most = max(figures.lengths.values(), default=0) if figures else 0
        value = f"{here / rounds * 100:3.0f} %" if rounds else "    –"
        return self._bar_row(f"{length}", here / most if most else 0.0, value, role, width)

    def _depth_row(self, figures: TaskFigures | None, depth: int, role: str, width: int) -> Row:
        at = figures.depths.get(depth) if figures else None
        hazard = at.hazard if at else None
        survival = figures.survival if figures else []
        reached = survival[depth - 1] if depth <= len(survival) else None
        value = f"h {share(hazard):>3}  S {share(reached):>3}" if width >= 30 else f"{share(hazard):>3}"
        return self._bar_row(f"{depth}", hazard or 0.0, value, role, width)

    @staticmethod
    def _bar_row(label: str, part: float, value: str, role: str, width: int) -> Row:
        room = max(width - len(value) - 5, 1)
        return (
            (fit(label, 2, "right") + " ", "muted"),
            (bar(part, room) + " ", role),
            (fit(value, width - room - 4, "right"), "text"),
        )


def _side_by_side(rows: Sequence[Row]) -> Row:
    """Rows of the same width as one, with a gap between them."""
    joined: list[Cell] = []
    for row in rows:
        joined += [*([(" " * GAP, "text")] if joined else []), *row]
    return tuple(joined)
