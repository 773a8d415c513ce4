"""Positions in a session: its prompts, their rounds and decoding time, in the order of decoding. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from spectui.store.counts import metrics
from spectui.store.reading.moments import Stretch


@dataclass(frozen=True)
class Place:
    """A round of a prompt, by the prompt's id and the round's number from 1."""

    generation_id: int
    number: int


@dataclass(frozen=True)
class Where:
    """A place, and how far into its round a time is."""

    stretch: int
    """Index of the stretch."""
    ms: float
    """Decoding time since the stretch began."""


class Timeline:
    """The rounds of a session in the order they were decoded; `stretches` has at least one."""

    def __init__(self, stretches: Sequence[Stretch]) -> None:
        self.stretches = tuple(stretches)
        self._ends = list(accumulate(stretch.total_ms for stretch in stretches))
        self._first: dict[int, int] = {}
        self._last: dict[int, int] = {}
        self._prompts: list[int] = []
        for index, stretch in enumerate(self.stretches):
            if stretch.generation_id not in self._first:
                self._first[stretch.generation_id] = index
                self._prompts.append(stretch.generation_id)
            self._last[stretch.generation_id] = stretch.last
        self._places = {generation_id: at for at, generation_id in enumerate(self._prompts)}

    @property
    def total_ms(self) -> float:
        """Decoding time of all rounds."""
        return self._ends[-1]

    @property
    def start(self) -> Place:
        """The first round of all."""
        return Place(self._prompts[0], 1)

    @property
    def end(self) -> Place:
        """The last round of all."""
        return Place(self._prompts[-1], self._last[self._prompts[-1]])

    def last(self, generation_id: int) -> int:
        """The number of a prompt's last round; 0 when it has none."""
        return self._last.get(generation_id, 0)

    def clamped(self, place: Place) -> Place:
        """The place, or the nearest there is; a prompt without rounds gives way to the start."""
        if place.generation_id not in self._last:
            return self.start
        return Place(place.generation_id, min(max(place.number, 1), self._last[place.generation_id]))

    def moved(self, place: Place, rounds: int) -> Place:
        """So many rounds on, over the borders of prompts; at most to the start or the end."""
        index, number = self._places[place.generation_id], place.number + rounds
        while number < 1 and index > 0:
            index -= 1
            number += self._last[self._prompts[index]]
        while number > self._last[self._prompts[index]] and index + 1 < len(self._prompts):
            number -= self._last[self._prompts[index]]
            index += 1
        return self.clamped(Place(self._prompts[index], number))

    def next_prompt(self, generation_id: int, step: int = 1) -> int | None:
        """The prompt after this one (or before, for -1) that has rounds."""
        index = self._places[generation_id] + step
        return self._prompts[index] if 0 <= index < len(self._prompts) else None

    def where(self, ms: float) -> Where:
        """The stretch in which a decoding time lies."""
        index = min(bisect_left(self._ends, ms), len(self._ends) - 1)
        return Where(index, max(ms - self.begin_ms(index), 0.0))

    def begin_ms(self, stretch: int) -> float:
        """Decoding time before a stretch."""
        return self._ends[stretch - 1] if stretch else 0.0

    def means(self, columns: int) -> list[tuple[float | None, int]]:
        """Mean accepted length in each of so many equal parts of the time, and the prompt that begins it."""
        out: list[tuple[float | None, int]] = []
        for column in range(columns):
            low = self.total_ms * column / columns
            high = self.total_ms * (column + 1) / columns
            first = self.where(low).stretch
            if self._ends[first] <= low and first + 1 < len(self.stretches):
                first += 1
            last = max(self.where(high).stretch, first)
            accepted, rounds = 0.0, 0.0
            for index in range(first, last + 1):
                begin, stretch = self.begin_ms(index), self.stretches[index]
                inside = min(self._ends[index], high) - max(begin, low)
                share = inside / stretch.total_ms if stretch.total_ms else 0.0
                accepted += stretch.accepted_count * share
                rounds += stretch.rounds * share
            out.append((metrics.mean_accepted_length(accepted, rounds), self.stretches[first].generation_id))
        return out
