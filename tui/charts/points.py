"""The charts as points: what each shows of a task or a session, whatever draws it.

Everything comes from rollups (`store.reading.reader`, `store.reading.moments`), so that a chart costs its bins
and never the nodes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from spectui.store.counts import metrics
from spectui.store.counts.bins import Bins, ProbabilityBin
from spectui.store.reading.moments import stretches, tasks_of
from spectui.store.reading.reader import Reader
from spectui.store.rows import TaskFigures
from spectui.tui.charts.time_spans import TIME_BINS, Span, TimeSpans
from spectui.tui.terminal.cells import count, duration, number, rate, share

Chart = Literal["length", "depth", "entropy", "calibration", "speed", "course"]
CHARTS: tuple[Chart, ...] = ("length", "depth", "entropy", "calibration", "speed", "course")
"""In the order in which they follow each other."""

OF_FIGURES: tuple[Chart, ...] = ("length", "depth")
"""Those drawn from `TaskFigures` alone."""
TITLES: dict[Chart, str] = {
    "length": "accepted length",
    "depth": "acceptance by depth",
    "entropy": "draft entropy",
    "calibration": "calibration",
    "speed": "tokens per second",
    "course": "accepted length over time",
}
NOTES: dict[Chart, str] = {
    "length": "n rounds  α match  E mean ±95 %",
    "depth": "h goes on to this depth  S gets there",
    "entropy": "left: matched  right: not, in nats",
    "calibration": "accepted at draft probability 0 to 1",
    "speed": "over decoding time",
    "course": "E over decoding time",
}
AXES: dict[Chart, tuple[str, str]] = {
    "length": ("accepted draft tokens in a round", "share of rounds"),
    "depth": ("depth in the tree", "h: share of paths that go on to it"),
    "entropy": ("draft entropy at the parent, nats", "share of the matched, of the unmatched nodes"),
    "calibration": ("draft probability", "share accepted of the nodes at risk"),
    "speed": ("decoding time", "tokens per second"),
    "course": ("decoding time", "accepted length"),
}
"""What the axes say: across, up."""


@dataclass(frozen=True)
class Source:
    """What the charts of one task, or of several together, are drawn from."""

    rounds: int = 0
    lengths: Mapping[int, int] = field(default_factory=dict)
    depths: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    """Depth -> rounds at risk there, rounds that reached it."""
    bins: Bins | None = None
    spans: tuple[Span, ...] = ()
    total_ms: float = 0.0
    """Of the whole session, so that all its tasks share one axis of time."""
    unknown: str = ""
    """Why `bins` is None although there are nodes, in a few words."""

    def __add__(self, other: Source) -> Source:
        lengths = dict(self.lengths)
        for length, rounds in other.lengths.items():
            lengths[length] = lengths.get(length, 0) + rounds
        depths = dict(self.depths)
        for depth, (risked, reached) in other.depths.items():
            before = depths.get(depth, (0, 0))
            depths[depth] = (before[0] + risked, before[1] + reached)
        both = self.bins + other.bins if self.bins and other.bins else self.bins or other.bins
        spans = tuple(sorted((*self.spans, *other.spans), key=lambda span: span.start))
        most = max(self.total_ms, other.total_ms)
        return Source(self.rounds + other.rounds, lengths, depths, both, spans, most)


@dataclass(frozen=True)
class Point:
    """One value and what it stands for."""

    low: float
    high: float
    value: float | None
    where: str
    """Its place on the axis in words: ``3 tokens``, ``q .25 to .30``."""
    says: str
    """The value in words, with how much it rests on."""

    @property
    def middle(self) -> float:
        """Where a dot goes."""
        return (self.low + self.high) / 2


class SourceReader:
    """What the charts of each task of a session are drawn from, read again and again while it grows.

    The spans are read once; what is added to them afterwards is what the totals have grown by since the last
    call, so that a call costs bins and tasks, whatever the history.
    """

    def __init__(self, session_id: int) -> None:
        self._session_id = session_id
        self._spans: TimeSpans | None = None

    def read(self, reader: Reader) -> dict[str, Source]:
        """By task, as it is now. Raises `StoreError`."""
        with reader.snapshot():
            figures = reader.figures(self._session_id)
            bins = reader.bins(self._session_id)
            if self._spans is None or not self._spans.grow(figures):
                self._spans = TimeSpans(
                    figures, tasks_of(reader, self._session_id), stretches(reader, self._session_id)
                )
        known = {task: found for task, found in bins.items() if not found.empty}
        spans = self._spans
        return {
            task: source_of(found, known.get(task), spans.spans(task), spans.total_ms)
            for task, found in figures.items()
        }


def read_sources(reader: Reader, session_id: int) -> dict[str, Source]:
    """What the charts of each task are drawn from. Raises `StoreError`."""
    return SourceReader(session_id).read(reader)


def source_of(
    figures: TaskFigures, bins: Bins | None = None, spans: tuple[Span, ...] = (), total_ms: float = 0.0
) -> Source:
    """The source of one task from its figures and what else is known."""
    depths = {depth: (at.rounds_at_risk, at.rounds_reached) for depth, at in figures.depths.items()}
    return Source(figures.rounds, figures.lengths, depths, bins, spans, total_ms)


def together(sources: Iterable[Source]) -> Source:
    """Several tasks as one."""
    return sum(sources, Source())


def points(chart: Chart, source: Source, *, matched: bool = True) -> list[Point]:
    """The points of a chart; `matched` chooses between the two sides of the entropy chart."""
    if chart == "length":
        return _lengths(source)
    if chart == "depth":
        return _depths(source)
    if chart == "entropy":
        return _entropies(source, matched=matched)
    if chart == "calibration":
        return _calibration(source)
    return _over_time(source, speed=chart == "speed")


def _lengths(source: Source) -> list[Point]:
    found = []
    for length in range(max(source.lengths, default=-1) + 1):
        rounds = source.lengths.get(length, 0)
        part = metrics.ratio(rounds, source.rounds)
        found.append(
            Point(
                length - 0.5,
                length + 0.5,
                part,
                f"{length} accepted",
                f"{share(part)}  {count(rounds)} rounds",
            )
        )
    return found


def _depths(source: Source) -> list[Point]:
    found = []
    for depth in sorted(source.depths):
        risked, reached = source.depths[depth]
        hazard = metrics.hazard(reached, risked)
        says = f"h {share(hazard)}  {count(reached)} of {count(risked)} paths"
        found.append(Point(depth - 0.5, depth + 0.5, hazard, f"depth {depth}", says))
    return found


def _entropies(source: Source, *, matched: bool) -> list[Point]:
    bins = source.bins.entropy if source.bins else ()
    whole = sum(b.matched if matched else b.unmatched for b in bins)
    found = []
    step = bins[0].high if bins else 0.0
    for each in bins:
        nodes = each.matched if matched else each.unmatched
        part = metrics.ratio(nodes, whole)
        last = each.high == float("inf")
        where = f"{each.low:.2f} nats and more" if last else f"{each.low:.2f} to {each.high:.2f} nats"
        says = f"{share(part)} of the {'matched' if matched else 'unmatched'}  {count(nodes)} nodes"
        found.append(Point(each.low, each.low + step if last else each.high, part, where, says))
    return found


def _calibration(source: Source) -> list[Point]:
    def point(each: ProbabilityBin) -> Point:
        says = f"{share(each.acceptance)} of {count(each.at_risk)} at risk"
        says += f"  match {share(each.match_rate)} of {count(each.nodes)}"
        return Point(each.low, each.high, each.acceptance, f"q {share(each.low)} to {share(each.high)}", says)

    return [point(each) for each in source.bins.probability] if source.bins else []


def _over_time(source: Source, *, speed: bool) -> list[Point]:
    """Rounds shared out to stretches of time by how much of each falls into them."""
    spans = [span for span in source.spans if span.end > span.start]
    if not spans or not source.total_ms:
        return []
    bins = min(TIME_BINS, max(len(spans), 1))
    width = source.total_ms / bins
    sums = [[0.0] * 4 for _ in range(bins)]  # rounds, tokens, accepted, milliseconds
    for span in spans:
        length = span.end - span.start
        for place in range(int(span.start / width), min(int(span.end / width), bins - 1) + 1):
            inside = min(span.end, (place + 1) * width) - max(span.start, place * width)
            if inside > 0:
                part = inside / length
                for i, amount in enumerate((span.rounds, span.tokens, span.accepted, span.ms)):
                    sums[place][i] += amount * part
    found = []
    for place, (rounds, tokens, accepted, ms) in enumerate(sums):
        value = (
            metrics.tokens_per_second(tokens, ms) if speed else metrics.mean_accepted_length(accepted, rounds)
        )
        says = f"{rate(value)} tok/s" if speed else f"E {number(value)}"
        low, high = place * width / 1000, (place + 1) * width / 1000
        where = f"{duration(low)} to {duration(high)}"
        found.append(Point(low, high, value, where, f"{says}  {count(round(tokens))} tokens"))
    return found


def highest(chart: Chart, series: Iterable[Sequence[Point]]) -> float:
    """The top of the vertical axis: 1 where values are rates to be read against it, else above every value."""
    if chart in ("depth", "calibration"):
        return 1.0
    most = max((p.value or 0.0 for each in series for p in each), default=0.0)
    return most or 1.0
