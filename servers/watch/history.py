"""The samples of one server over time, ever fewer of them the older they are, and the figures of any stretch.

Counters are cumulative: leaving out samples makes the past coarser, never wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from spectui.servers.watch.figures import Figures, between
from spectui.servers.watch.segments import Segments, Step
from spectui.store.samples import Sample

KEEP = ((600.0, 1.0), (7200.0, 10.0), (86400.0, 60.0))
"""Age in seconds up to which one sample is kept for so many seconds; older ones are dropped."""
MINUTE_S = 60.0
GAP_S = 30.0
"""Samples further apart have a silence between them."""


@dataclass(frozen=True)
class Placed:
    """A sample in its segment."""

    segment: int
    sample: Sample


class History:
    """The samples of one server, oldest first."""

    def __init__(self) -> None:
        self.segments = Segments()
        self.began: dict[int, bool] = {}
        """Segment -> True when it began while we watched, so that its counters began at 0 then."""
        self._placed: list[Placed] = []
        self._thinned_at = 0.0
        self._slices: dict[tuple[int, int], Figures] = {}
        """(segment, minute) -> the figures of a minute that is over."""

    def take(self, sample: Sample) -> Step:
        """Put the next sample in its place."""
        step = self.segments.take(sample)
        self.began.setdefault(self.segments.number, step == "restart")
        if step != "mixed":
            self._placed.append(Placed(self.segments.number, sample))
        if sample.at - self._thinned_at >= MINUTE_S:
            self._thinned_at = sample.at
            self._thin(sample.at)
        return step

    @property
    def placed(self) -> Sequence[Placed]:
        """Every sample that is kept."""
        return self._placed

    @property
    def last(self) -> Sample | None:
        """The newest sample."""
        return self._placed[-1].sample if self._placed else None

    @property
    def segment(self) -> int:
        """The number of the present segment."""
        return self._placed[-1].segment if self._placed else self.segments.number

    def of_segment(self, segment: int) -> list[Sample]:
        """The samples of one segment."""
        return [one.sample for one in self._placed if one.segment == segment]

    def since_start(self, segment: int | None = None) -> Figures | None:
        """Everything that the server counted since its start, as far as a segment goes."""
        samples = self.of_segment(self.segment if segment is None else segment)
        return between(None, samples[-1]) if samples else None

    def recent(self, seconds: float | None) -> Figures | None:
        """The figures of the last `seconds` of the present segment; None: of all of it that was watched."""
        samples = self.of_segment(self.segment)
        if len(samples) < 2:
            return None
        begin = samples[0] if seconds is None else _at(samples, samples[-1].at - seconds)
        inside = [one.running for one in samples if one.at > begin.at and one.running is not None]
        return between(begin, samples[-1], running=sum(inside) / len(inside) if inside else None)

    def minutes(self, segment: int | None = None) -> list[Figures]:
        """The minutes of a segment in which something was decoded, the present one last, oldest first."""
        number = self.segment if segment is None else segment
        return [one for one in self._minutes(number) if one.rounds]

    def _minutes(self, segment: int) -> Iterator[Figures]:
        samples = self.of_segment(segment)
        if not samples:
            return
        groups: dict[int, list[Sample]] = {}
        for sample in samples:
            groups.setdefault(int(sample.at // MINUTE_S), []).append(sample)
        latest = max(groups)
        for (_, earlier), (minute, inside) in pairwise([(0, samples[:1]), *groups.items()]):
            key = (segment, minute)
            figures = self._slices.get(key)
            if figures is None:
                figures = between(earlier[-1], inside[-1], running=_mean(inside))
                if minute < latest:
                    self._slices[key] = figures
            yield figures

    def stretches(self, begin: float, end: float, count: int) -> list[Figures | None]:
        """`count` stretches of equal length; None where the server was silent, mixed or new in it."""
        width = (end - begin) / count
        edges: list[Placed | None] = [None] * count
        before: Placed | None = None
        for one in self._placed:
            place = int((one.sample.at - begin) // width)
            if place < 0:
                before = one
            elif place < count:
                edges[place] = one
        figures: list[Figures | None] = []
        for last in edges:
            known = (
                last is not None
                and before is not None
                and before.segment == last.segment
                and last.sample.at - before.sample.at < max(GAP_S, 2 * width)
            )
            figures.append(between(before.sample, last.sample) if known and before and last else None)
            before = last or before
        return figures

    def restarts(self, begin: float, end: float) -> list[float]:
        """Times at which a segment that we saw begin began."""
        return [
            second.sample.at
            for first, second in pairwise(self._placed)
            if first.segment != second.segment and begin <= second.sample.at <= end
        ]

    def _thin(self, now: float) -> None:
        kept: list[Placed] = []
        for place, one in enumerate(self._placed):
            age = now - one.sample.at
            step = next((every for until, every in KEEP if age <= until), None)
            if step is None:
                continue
            following = self._placed[place + 1] if place + 1 < len(self._placed) else None
            # The last of its step stays, so that a minute ends where it ended before.
            ends = following is None or following.segment != one.segment
            ends = ends or not kept or kept[-1].segment != one.segment
            if step <= 1.0 or ends or _steps(following, step) != _steps(one, step):
                kept.append(one)
        self._placed = kept
        oldest = kept[0].sample.at // MINUTE_S if kept else 0
        self._slices = {key: figures for key, figures in self._slices.items() if key[1] >= oldest}


def _steps(placed: Placed | None, step: float) -> float | None:
    return None if placed is None else placed.sample.at // step


def _at(samples: Sequence[Sample], at: float) -> Sample:
    """The last sample that is as old as `at`, else the first one."""
    older = [sample for sample in samples if sample.at <= at]
    return older[-1] if older else samples[0]


def _mean(samples: Sequence[Sample]) -> float | None:
    known = [sample.running for sample in samples if sample.running is not None]
    return sum(known) / len(known) if known else None
