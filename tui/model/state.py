"""The values that feeds post to screens: a session at a moment, its text, its trees, its figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from spectui.store.counts.metrics import Interval
from spectui.store.reading.choices import TreeChoice
from spectui.store.reading.replicas import ReplicaRow
from spectui.store.rows import (
    EventRow,
    GenerationRow,
    OutputSample,
    RoundRow,
    SessionSummary,
    TaskFigures,
)
from spectui.store.sweeps.cells import Sweep
from spectui.tui.charts.base import Source
from spectui.tui.model.pieces import Piece
from spectui.tui.model.timeline import Place, Timeline

PLAYING, HELD = "playing", "held"
"""In the place of a session's status while it is replayed."""


@dataclass(frozen=True)
class RunState:
    """The session and its prompts."""

    summary: SessionSummary
    generations: tuple[GenerationRow, ...]
    """In the order they are run, without their texts."""
    prompts: Mapping[int, str]
    """Generation id -> what was asked."""
    pending: tuple[str, ...]
    """Commands that the worker has not taken yet."""
    complete: bool = True
    """False where these prompts are some of the session's, and all follow soon."""
    unexplained: tuple[int, int] | None = None
    """Position of the prompt and number of the first round that the target's argmax does not explain."""
    replicas: tuple[ReplicaRow, ...] = ()
    """Those that decode the prompts, or did; none where the worker does."""

    @property
    def growing(self) -> bool:
        """True while more text may come."""
        return self.summary.live or self.summary.status in (PLAYING, HELD)


@dataclass(frozen=True)
class Charts:
    """The figures of each task, in the session's order, and the intervals of mean accepted length."""

    figures: Mapping[str, TaskFigures]
    intervals: Mapping[str, Interval]
    sources: Mapping[str, Source] = field(default_factory=dict)
    """The data of the other charts, by task; empty until it is read."""
    whole: bool = True
    """False where intervals and sources follow at once."""


@dataclass(frozen=True)
class Opened:
    """Another prompt is looked at: forget what was shown."""

    generation: GenerationRow


@dataclass(frozen=True)
class Stream:
    """New text of the prompt that is looked at."""

    generation_id: int
    pieces: tuple[Piece, ...]
    new: bool
    """False for what had been decoded before the prompt was opened."""


@dataclass(frozen=True)
class Ended:
    """All text of the prompt has been posted, and no more will come."""

    generation: GenerationRow


@dataclass(frozen=True)
class Tree:
    """One round to be drawn as a tree."""

    row: RoundRow
    texts: Mapping[int, str]
    """Token id -> text on one line, of every token of the round."""
    last: int
    """The newest round of the generation."""
    choice: TreeChoice | None = None
    """The choice of its tree, in a run that chooses trees."""
    budgets: Mapping[str, TreeChoice] = field(default_factory=dict)
    """The tree of each task now; of the newest round only."""


@dataclass(frozen=True)
class Rewound:
    """Forget the text of the rounds after this one."""

    generation_id: int
    number: int


@dataclass(frozen=True)
class Moment:
    """The position of a replay."""

    timeline: Timeline
    place: Place
    at_ms: float
    """Decoding time up to the end of the round."""
    playing: bool
    speed: float
    live: bool
    """True while a worker is at work on the session."""

    @property
    def at_end(self) -> bool:
        """True at the last round that is recorded."""
        return self.place == self.timeline.end


@dataclass(frozen=True)
class Sessions:
    """Every session, newest first."""

    rows: tuple[SessionSummary, ...]
    unread: int = 0
    """Older ones that follow at once."""
    sweep: Sweep | None = None
    """The sweep that is going on, or was left last."""


@dataclass(frozen=True)
class Card:
    """More about one session."""

    summary: SessionSummary
    figures: Mapping[str, TaskFigures]
    sample: OutputSample | None
    events: Sequence[EventRow] = ()
    """Its events, oldest first."""
