"""The position of a replay: accepted length over the whole session, bright as far as it is played, and a clock."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from textual import events
from textual.message import Message

from spectui.store.rows import GenerationRow
from spectui.tui.model.state import Moment
from spectui.tui.model.timeline import Timeline
from spectui.tui.terminal.cells import columns, count, duration, fit
from spectui.tui.widgets.rows import Cell, Line, Row, row_width

MARGIN = 1


class Scrubber(Line):
    """Two rows: bars over time, then the moment in words. A click goes there."""

    DEFAULT_CSS = "Scrubber { height: 2; }"

    class Sought(Message):
        """A part of the whole, 0 to 1, was clicked."""

        def __init__(self, part: float) -> None:
            super().__init__()
            self.part = part

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._moment: Moment | None = None
        self._generation: GenerationRow | None = None
        self._prompts = 0
        self._facts: tuple[object, ...] = ()
        self._words: Row = ()
        self._slots: Mapping[str, int] = {}
        self._tasks: Mapping[int, str] = {}
        self._bars: tuple[tuple[Timeline, int] | None, str, list[str]] = (None, "", [])

    def show(
        self, moment: Moment, generations: Sequence[GenerationRow], slots: Mapping[str, int], shown: int
    ) -> None:
        """Draw this moment of a session with these prompts; `shown` is the id of the present one."""
        if len(generations) != self._prompts or not self._tasks:
            self._tasks = {g.id: g.task for g in generations}
        self._prompts, self._slots, self._moment = len(generations), slots, moment
        self._generation = next((g for g in generations if g.id == shown), None)
        self._draw()

    def on_resize(self) -> None:
        """Draw for the new width."""
        self._draw()

    def on_click(self, event: events.Click) -> None:
        """Go to the clicked time."""
        width = self.size.width - 2 * MARGIN
        if event.y == 0 and width > 0:
            self.post_message(self.Sought(min(max((event.x - MARGIN + 0.5) / width, 0.0), 1.0)))

    def _draw(self) -> None:
        moment = self._moment
        width = self.size.width - 2 * MARGIN
        if moment is None or width < 4:
            return
        # While it plays, the words change with the clock's seconds: five times as often would cost 1 KB/s.
        facts = (moment.playing, moment.speed, int(moment.at_ms / 1000), moment.place.generation_id, width)
        if not moment.playing or facts != self._facts:
            self._facts, self._words = facts, self._word_row(moment, width)
        self.set_rows([self._bar_row(moment, width), self._words])

    def _bar_row(self, moment: Moment, width: int) -> Row:
        key = (moment.timeline, width)
        if self._bars[0] != key:
            means = moment.timeline.means(width)
            tasks = [self._tasks.get(generation_id, "") for _, generation_id in means]
            self._bars = key, columns([mean or 0.0 for mean, _ in means]), tasks
        _, bars, tasks = self._bars
        part = moment.at_ms / moment.timeline.total_ms if moment.timeline.total_ms else 1.0
        cursor = min(int(part * width), width - 1)
        cells: list[Cell] = [(" " * MARGIN, "text")]
        for column, bar in enumerate(bars):
            role = f"task-{self._slots.get(tasks[column], 0)}" if column <= cursor else "faint"
            if column == cursor:
                role += " cursor"
            if cells[-1][1] == role:
                cells[-1] = (cells[-1][0] + bar, role)
            else:
                cells.append((bar, role))
        return tuple(cells)

    def _word_row(self, moment: Moment, width: int) -> Row:
        sign = ("▶ ", "accent") if moment.playing else ("‖ ", "accent")
        words = "playing" if moment.playing else "at the end" if moment.at_end else "held"
        total = duration(moment.timeline.total_ms / 1000)
        clock = f"{fit(duration(moment.at_ms / 1000), len(total), 'right')} / {total}"
        last = moment.timeline.last(moment.place.generation_id)
        place = self._generation.position + 1 if self._generation else 0
        round_words = f"round {fit(count(moment.place.number), len(count(last)), 'right')} of {count(last)}"
        cells: list[Cell] = [
            (" " * MARGIN, "text"),
            sign,
            (fit(words, 11), "strong"),
            (fit(speed_words(moment.speed), 6), "text"),
            (clock, "text"),
        ]
        parts = [f"prompt {count(place)} of {count(self._prompts)} · {round_words}", round_words, ""]
        for right in parts:
            gap = width + MARGIN - row_width(tuple(cells)) - len(right)
            if gap >= 2:
                return (*cells, (" " * gap, "text"), (right, "muted"))
        return tuple(cells)


def speed_words(speed: float) -> str:
    """``0.25×``, ``8×``, ``max``."""
    return "max" if math.isinf(speed) else f"{speed:g}×"
