"""The samples of one server over time, ever fewer of them the older they are, and the figures of any stretch.

Counters are cumulative: leaving out samples makes the past coarser, never wrong.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise

from spectui.servers.watch.figures import Figures, added, between, mean
from spectui.servers.watch.segments import Segments, Step
from spectui.store.samples import Sample

DAY_S, HOUR_S, MINUTE_S = 86400.0, 3600.0, 60.0
KEEP = ((600.0, 1.0), (7200.0, 10.0), (DAY_S, MINUTE_S), (float("inf"), HOUR_S))
"""Age in seconds up to which one sample is kept for so many seconds."""
GAP_S = 30.0
"""Samples further apart have a silence between them."""


@dataclass
class _Segment:
    """The samples of one segment, oldest first, and the figures of its minutes."""

    number: int
    samples: list[Sample]
    past: list[Figures] = field(default_factory=list)
    """Of the minutes that are over and in which something was decoded; of hours, where they are older than a day."""
    present: list[Sample] = field(default_factory=list)
    """Samples of the minute that is not over: the last one before it, then those in it."""

    def take(self, sample: Sample) -> None:
        """Add the next sample."""
        self.samples.append(sample)
        if not self.present:
            self.present = [sample, sample]
        elif sample.at // MINUTE_S == self.present[-1].at // MINUTE_S:
            self.present.append(sample)
        else:
            self.past += self._now()
            self.present = [self.present[-1], sample]

    def minutes(self) -> list[Figures]:
        """The minutes in which something was decoded, the present one last."""
        return self.past + self._now()

    def _now(self) -> list[Figures]:
        before, *inside = self.present
        figures = between(before, inside[-1], running=mean([one.running for one in inside]))
        return [figures] if figures.rounds else []

    def thin(self, now: float) -> None:
        """Leave out samples, and put the minutes of hours together, by their age."""
        kept: list[Sample] = []
        for one, following in pairwise(self.samples):
            every = next(step for until, step in KEEP if now - one.at <= until)
            # The first stays, and the last of each step, so that a minute ends where it ended before.
            if every <= 1.0 or not kept or following.at // every != one.at // every:
                kept.append(one)
        self.samples = [*kept, self.samples[-1]]
        old = bisect_left(self.past, (now - DAY_S) // HOUR_S * HOUR_S, key=lambda one: one.end)
        hours = [list(group) for _, group in groupby(self.past[:old], lambda one: one.end // HOUR_S)]
        self.past[:old] = [group[0] if len(group) == 1 else added(group) or group[0] for group in hours]


class History:
    """The samples of one server, oldest first. Without `thin` all are kept: a recording was thinned as it was made."""

    def __init__(self, *, thin: bool = True) -> None:
        self.segments = Segments()
        self._thins = thin
        self._kept: dict[int, _Segment] = {}
        """Number -> segment, oldest first."""
        self._latest: _Segment | None = None
        self._thinned_at = 0.0

    def take(self, sample: Sample) -> Step:
        """Put the next sample in its place."""
        step = self.segments.take(sample)
        if step != "mixed":
            number = self.segments.number
            self._latest = self._kept.setdefault(number, _Segment(number, []))
            self._latest.take(sample)
        if self._thins and sample.at - self._thinned_at >= MINUTE_S:
            self._thinned_at = sample.at
            for segment in self._kept.values():
                segment.thin(sample.at)
        return step

    @property
    def first(self) -> Sample | None:
        """The oldest sample."""
        return next((segment.samples[0] for segment in self._kept.values()), None)

    @property
    def last(self) -> Sample | None:
        """The newest sample."""
        return self._latest.samples[-1] if self._latest else None

    @property
    def segment(self) -> int:
        """The number of the present segment."""
        return self._latest.number if self._latest else self.segments.number

    @property
    def numbers(self) -> list[int]:
        """The segments of which there are samples."""
        return list(self._kept)

    def of_segment(self, segment: int) -> Sequence[Sample]:
        """The samples of one segment."""
        return self._kept[segment].samples if segment in self._kept else ()

    def since_start(self, segment: int | None = None) -> Figures | None:
        """Everything that the server counted since its start, as far as a segment goes."""
        samples = self.of_segment(self.segment if segment is None else segment)
        return between(None, samples[-1]) if samples else None

    def recent(self, seconds: float) -> Figures | None:
        """The figures of the last `seconds` of the present segment."""
        samples = self.of_segment(self.segment)
        if len(samples) < 2:
            return None
        place = max(bisect_right(samples, samples[-1].at - seconds, key=_time) - 1, 0)
        running = mean([one.running for one in samples[place + 1 :]])
        return between(samples[place], samples[-1], running=running)

    def minutes(self, segment: int | None = None) -> list[Figures]:
        """The minutes of a segment in which something was decoded, the present one last, oldest first."""
        number = self.segment if segment is None else segment
        return self._kept[number].minutes() if number in self._kept else []

    def stretches(self, begin: float, end: float, count: int) -> list[Figures | None]:
        """`count` stretches of equal length; None where the server was silent, mixed or new in it."""
        width = (end - begin) / count
        edges: list[tuple[int, Sample] | None] = [None] * count
        before: tuple[int, Sample] | None = None
        for number, sample in self._from(begin):
            place = int((sample.at - begin) // width)
            if place < 0:
                before = (number, sample)
            elif place < count:
                edges[place] = (number, sample)
        figures: list[Figures | None] = []
        for last in edges:
            known = (
                last is not None
                and before is not None
                and before[0] == last[0]
                and last[1].at - before[1].at < max(GAP_S, 2 * width)
            )
            figures.append(between(before[1], last[1]) if known and before and last else None)
            before = last or before
        return figures

    def restarts(self, begin: float, end: float) -> list[float]:
        """Times at which a segment that we saw begin began."""
        began = [segment.samples[0].at for segment in self._kept.values()]
        return [at for at in began[1:] if begin <= at <= end]

    def _from(self, begin: float) -> list[tuple[int, Sample]]:
        """The samples from a time on with their segments, and the one before them."""
        placed: list[tuple[int, Sample]] = []
        for segment in reversed(self._kept.values()):
            place = bisect_left(segment.samples, begin, key=_time)
            placed[:0] = [(segment.number, one) for one in segment.samples[max(place - 1, 0) :]]
            if place:
                break
        return placed


def _time(sample: Sample) -> float:
    return sample.at
