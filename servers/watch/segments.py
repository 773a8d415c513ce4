"""Restarts of a server, seen from its counters, and two servers behind one address.

Between two samples of one segment every counter only grows. A counter that fell, or another start time, is a
restart. Counters that go back to where they were before are another server that answers in turn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from spectui.store.samples import COUNTERS, Sample

Step = Literal["first", "same", "restart", "mixed"]

MEMORY_S = 60.0
"""Falls further apart are restarts, each by itself."""
MANY = 3
"""Falls within that time which no server survives: something answers in its place."""


@dataclass(frozen=True)
class _Fall:
    at: float
    after: Sample
    """The first sample after the counters fell."""


class Segments:
    """Numbers the segments of one server's samples, from 1."""

    def __init__(self, number: int = 1) -> None:
        self.number = number
        self._last: Sample | None = None
        self._falls: list[_Fall] = []
        self._marks: dict[float, float] = {}
        """Start time of a server that answered -> when it did last."""
        self._mixed_at: float | None = None

    @property
    def mixed(self) -> bool:
        """True while two servers answer: no difference of their counters means anything."""
        return self._mixed_at is not None

    def take(self, sample: Sample) -> Step:
        """The place of the next sample: in the same segment, first of another, or of one of two servers."""
        before, self._last = self._last, sample
        self._falls = [fall for fall in self._falls if sample.at - fall.at < MEMORY_S]
        self._marks = {mark: at for mark, at in self._marks.items() if sample.at - at < MEMORY_S}
        step: Step = "first" if before is None else "same"
        if before is not None and fell(before, sample):
            returned = sample.mark is not None and sample.mark in self._marks
            as_before = any(_continues(fall.after, sample) for fall in self._falls)
            self._falls.append(_Fall(sample.at, sample))
            step = "restart"
            if returned or as_before or len(self._falls) >= MANY:
                self._mixed_at = sample.at
            self.number += 1
        if sample.mark is not None:
            self._marks[sample.mark] = sample.at
        if self._mixed_at is not None:
            if sample.at - self._mixed_at < MEMORY_S:
                return "mixed"
            self._mixed_at = None
            self.number += 1
            return "restart"
        return step


def fell(before: Sample, after: Sample) -> bool:
    """True when `after` cannot be of the same start of the same server as `before`."""
    if before.mark is not None and after.mark is not None and before.mark != after.mark:
        return True
    if before.engine != after.engine or (before.model and after.model and before.model != after.model):
        return True
    return any(
        last < first
        for name in COUNTERS
        if (first := getattr(before, name)) is not None
        and (last := getattr(after, name)) is not None
        and name not in _NOT_EXACT
    )


_NOT_EXACT = frozenset(("tokens", "rounds", "batched", "decode_tokens"))
"""Worked out from others: a page that is read between two counts may put them back by one."""


def _continues(earlier: Sample, later: Sample) -> bool:
    """True when `later` may follow `earlier`: counters that began anew would stand lower, or at nothing."""
    return bool(earlier.generated) and not fell(earlier, later)
