"""A chart: its words, its points, and how each is drawn, for whatever draws it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from spectui.store.counts.bins import Bins
from spectui.store.rows import TaskFigures
from spectui.tui.charts.time_spans import Span
from spectui.tui.terminal.cells import number


@dataclass(frozen=True)
class Source:
    """The data of one task, or of several together, that charts are drawn from."""

    rounds: int = 0
    lengths: Mapping[int, int] = field(default_factory=dict)
    depths: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    """Depth -> rounds at risk there, rounds that reached it."""
    bins: Bins | None = None
    spans: tuple[Span, ...] = ()
    total_ms: float = 0.0
    """Decoding time of the whole session, so that all its tasks share one axis of time."""
    unknown: str = ""
    """The reason, in a few words, that `bins` is None although there are nodes."""

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
    """One value and its place on the horizontal axis."""

    low: float
    high: float
    value: float | None
    where: str
    """Its place on the axis in words: ``3 accepted``, ``q .25 to .30``."""
    says: str
    """The value in words, with how much it rests on."""

    @property
    def middle(self) -> float:
        """The middle of its place, where a dot is drawn."""
        return (self.low + self.high) / 2


@dataclass(frozen=True)
class Bar:
    """One horizontal bar of a chart in a pane."""

    label: str
    value: float | None
    text: str
    """Written behind the bar."""
    short: str = ""
    """The same for a narrow pane; "" when `text` is short enough for any."""


@dataclass(frozen=True)
class Side:
    """Points that a chart draws of one source: most charts have one side, a comparison of two kinds has two."""

    points: Callable[[Source], list[Point]]
    name: str = ""
    """Tells the sides of a chart apart."""


@dataclass(frozen=True)
class Chart:
    """One chart, as a pane, on the whole screen and over several sessions."""

    name: str
    """The dashboard remembers the chart that was shown last by this name."""
    place: int
    """Charts follow each other in the order of their places."""
    title: str
    note: str
    """Written under its pane: signs and units."""
    help: str
    """One sentence for the help."""
    across: str
    up: str
    """The words along the two axes."""
    sides: tuple[Side, ...]
    bars: Callable[[TaskFigures | None, int], list[Bar]] | None = None
    """Horizontal bars for a pane, from a task's totals alone and as many as the longest output needs (the longest
    accepted length or depth in any task); None: a pane shows upright columns of the points."""
    top: float | None = None
    """The value at the top of the vertical axis; None: the highest value."""
    value: Callable[[float | None], str] = number
    """A value in words, beside the vertical axis."""
    tick: Callable[[float], str] = number
    """A place in words, under the horizontal axis."""
    inset: float = 0.0
    """The distance from the ends of the horizontal axis to the places that are written under them."""
    diagonal: bool = False
    """Draw the line on which value and place are the same."""
    needs_probabilities: bool = False
    """Its points come from bins of nodes that have draft probabilities."""

    def points(self, source: Source) -> list[Point]:
        """The points of its first side."""
        return self.sides[0].points(source)

    def highest(self, series: Iterable[Sequence[Point]]) -> float:
        """The value at the top of the vertical axis when these points are drawn."""
        if self.top is not None:
            return self.top
        return max((point.value or 0.0 for points in series for point in points), default=0.0) or 1.0


def source_of(
    figures: TaskFigures, bins: Bins | None = None, spans: tuple[Span, ...] = (), total_ms: float = 0.0
) -> Source:
    """The source of one task from its figures and what else is known."""
    depths = {depth: (each.rounds_at_risk, each.rounds_reached) for depth, each in figures.depths.items()}
    return Source(figures.rounds, figures.lengths, depths, bins, spans, total_ms)


def together(sources: Iterable[Source]) -> Source:
    """The sources of several tasks as one."""
    return sum(sources, Source())
