"""One watched server: what it answered so far, the state it is in, and what is to be said about it."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from threading import RLock
from typing import Literal

from spectui.servers.metrics import TITLES
from spectui.servers.watch.events import LONG, Alerts, Event
from spectui.servers.watch.figures import Figures, added, between, mean
from spectui.servers.watch.history import History
from spectui.servers.watch.payoff import LEAST_ROUNDS, Payoff, Plain, payoff
from spectui.store.samples import Sample

State = Literal["asking", "live", "idle", "plain", "undrafted", "silent", "foreign", "mixed"]

SILENT: frozenset[State] = frozenset(("asking", "silent", "foreign", "mixed"))
"""States in which nothing that is shown is of now."""

WINDOWS: dict[str, int | None] = {"5 min": 5, "1 h": 60, "segment": None, "30 s": 0}
"""Name of a window -> its busy minutes; None: all of the segment that was watched."""
NOW_S = 10.0
"""Seconds that count as now."""
IDLE_S = 10.0
MOST_EVENTS = 200
COMPARED = 60
"""Busy minutes on either side of a restart that are compared."""
MOST_UNSAVED = 3600
"""Samples, and events, that wait for who records them; beyond it the oldest are dropped."""
SPANS = (60.0, 300.0, 900.0, 3600.0, 21600.0, 86400.0)
"""Lengths of the charts: the shortest that holds what was watched, and an hour at most unless asked for more."""


UNKNOWN = Payoff("?", "")
"""Nothing is known yet."""
NO_BASELINE = "no baseline while it speculates; start it without a draft"


@dataclass(frozen=True)
class About:
    """Facts that a server tells of itself beside its counters; "" where it tells none."""

    version: str = ""
    model: str = ""
    drafter: str = ""
    """The way of drafting, in the server's words."""


@dataclass(frozen=True)
class Course:
    """Stretches of equal length up to now, for charts."""

    begin: float
    end: float
    figures: tuple[Figures | None, ...]
    restarts: tuple[int, ...] = ()
    """Stretches in which a segment began."""


@dataclass(frozen=True)
class View:
    """Everything that is shown of one server at one moment."""

    url: str
    name: str
    state: State
    words: str
    """The state in a sentence; "" for a server that is well and busy."""
    about: About = About()
    sample: Sample | None = None
    at: float | None = None
    """Time of the last sample: of whatever figure is shown."""
    window: str = "5 min"
    figures: Figures | None = None
    """Of the window."""
    since_start: Figures | None = None
    now: Figures | None = None
    """Of the last seconds."""
    payoff: Payoff = UNKNOWN
    course: Course | None = None
    events: tuple[Event, ...] = ()
    segment: int = 1
    restarted_at: float | None = None
    began_at: float | None = None
    """First sample of this watch."""
    polls: int = 0
    page_bytes: int = 0
    up_seconds: float | None = None

    @property
    def engine(self) -> str:
        """The engine's name for people; "" while it is unknown."""
        return TITLES.get(self.sample.engine, "") if self.sample else ""

    @property
    def model(self) -> str:
        """The model's short name."""
        name = (self.sample.model if self.sample else "") or self.about.model
        return name.rstrip("/").rpartition("/")[2]

    @property
    def plain(self) -> bool:
        """True for a server that does not speculate, or did not when it was last heard of."""
        return self.sample is not None and self.sample.speculative is False

    @property
    def depth(self) -> int | None:
        """Positions of a draft."""
        return self.sample.depth if self.sample else None

    @property
    def shown(self) -> Figures | None:
        """The figures to show: of the window, or since the server's start where the window has too little in it."""
        if self.figures is None or self.payoff.since_start:
            return self.since_start
        few = (self.figures.rounds or 0) < LEAST_ROUNDS
        return self.since_start if few and self.plain else self.figures

    @property
    def basis(self) -> str:
        """The stretch of time that `shown` is of."""
        return self.window if self.shown is self.figures else "since the server's start"

    @property
    def answers(self) -> bool:
        """True while its figures are of now: not while two servers answer, whose counters are not kept."""
        return self.state not in SILENT

    @property
    def tokens_per_second(self) -> float | None:
        """Of now: the server's own level where counters only move when a request ends."""
        if self.sample is not None and self.sample.live_rate is not None:
            return self.sample.live_rate
        return self.now.tokens_per_second if self.now else None

    @property
    def alerts(self) -> list[Event]:
        """Alerts of the last hour."""
        return [one for one in self.events if one.alert and self.at is not None and self.at - one.at < 3600]


@dataclass
class Watched:
    """Takes what a poller brings; another thread asks for views."""

    url: str
    name: str
    reference: bool = False
    """True for a server that is there as the plain one alone."""
    history: History = field(default_factory=History)
    about: About = About()
    events: deque[Event] = field(default_factory=lambda: deque(maxlen=MOST_EVENTS))
    began_at: float | None = None
    skew_s: float = 0.0
    """The server's clock minus ours."""
    lock: RLock = field(default_factory=RLock)
    _alerts: Alerts = field(default_factory=Alerts)
    _polls: int = 0
    _bytes: int = 0
    _problem: tuple[State, str] | None = None
    _silent_since: float | None = None
    _busy_at: float | None = None
    _restarted_at: float | None = None
    _compared: set[int] = field(default_factory=set)
    _unsaved: deque[tuple[int, Sample]] = field(default_factory=lambda: deque(maxlen=MOST_UNSAVED))
    _unsaved_events: deque[Event] = field(default_factory=lambda: deque(maxlen=MOST_UNSAVED))

    # From the poller.

    def take(self, sample: Sample, size: int = 0) -> None:
        """A page was read."""
        with self.lock:
            before = self.history.last
            step = self.history.take(sample)
            self._polls, self._bytes = self._polls + 1, size
            if self._silent_since is not None and before is not None:
                self._add(
                    "back", sample.at, f"answers again, after {_length(sample.at - self._silent_since)}"
                )
            self._problem = self._silent_since = None
            if step == "first":
                self.began_at = sample.at
                self._busy_at = sample.at if sample.running else None
                unfit = f"; {NO_BASELINE}" if self.reference and sample.speculative else ""
                self._add("watching", sample.at, f"watching; {_speculates(sample)}{unfit}")
            elif step == "restart" and before is not None:
                self._restarted_at = sample.at
                self._add("restart", sample.at, self._restart_words(before, sample))
            elif step == "mixed" and self._last_kind() != "mixed":
                self._add("mixed", sample.at, "counters jump back and forth: two servers answer here")
            if step == "same" and before is not None and (sample.generated or 0) > (before.generated or 0):
                self._busy_at = sample.at
            if sample.running:
                self._busy_at = sample.at
            if step != "mixed":
                self._unsaved.append((self.history.segment, sample))

    def fail(self, words: str, at: float, *, foreign: bool = False) -> None:
        """A page was not read; `words` say why on one line. `foreign`: something else answers there."""
        with self.lock:
            self._problem = ("foreign" if foreign else "silent", words)
            if self._silent_since is None and not foreign:
                self._silent_since = at
                if self.history.last is not None:
                    self._add("silent", at, f"silent ({words})")

    def tell_clock(self, skew_s: float, at: float) -> None:
        """The server's clock differs from ours by so much."""
        with self.lock:
            if abs(skew_s) >= 5 and abs(self.skew_s) < 5:
                ahead = "ahead of" if skew_s > 0 else "behind"
                self._add(
                    "clock", at, f"its clock is {_length(abs(skew_s))} {ahead} ours; times here are ours"
                )
            self.skew_s = skew_s

    def due(self, now: float) -> bool:
        """True when it is time to look for alerts: once a minute."""
        with self.lock:
            known = self.history.last is not None and not self.history.segments.mixed
            return known and self._alerts.due(now)

    def look_for_alerts(self, now: float, plain: Plain | None) -> None:
        """Add the alerts that are due."""
        with self.lock:
            if not self.due(now):
                return
            minutes = self.history.minutes()
            self._compare_with_before(now, minutes)
            result = payoff(minutes[-LONG:], None, plain)
            for event in self._alerts.look(now, minutes, self.history.since_start(), result):
                self.events.append(event)
                self._unsaved_events.append(event)

    def _compare_with_before(self, now: float, minutes: Sequence[Figures]) -> None:
        """Once a segment has something to show: its time per token against that of the one before."""
        segment = self.history.segment
        if segment in self._compared or segment < 2:
            return
        before = self.history.minutes(segment - 1)
        result = payoff(minutes[-COMPARED:], None, Plain("before", tuple(before[-COMPARED:])))
        if result.speedup is None:
            return
        self._compared.add(segment)
        first, last = (self.history.of_segment(number)[-1].depth for number in (segment - 1, segment))
        depth = f"k {first or 'none'} → {last or 'none'}, " if first != last else ""
        self._add(
            "compared",
            now,
            f"since the restart: {depth}{result.plain_ms:.1f} → {result.ms_per_token:.1f} ms a token"
            f" ({result.speedup:.2f}×)",
        )

    def unsaved(self) -> tuple[list[tuple[int, Sample]], list[Event]]:
        """Samples with their segments, and events, since the last call: for who records them."""
        with self.lock:
            samples, events = list(self._unsaved), list(self._unsaved_events)
            self._unsaved.clear()
            self._unsaved_events.clear()
            return samples, events

    def _add(self, kind: str, at: float, text: str) -> None:
        event = Event(at, kind, text)
        self.events.append(event)
        self._unsaved_events.append(event)

    def _last_kind(self) -> str:
        return self.events[-1].kind if self.events else ""

    def _restart_words(self, before: Sample, sample: Sample) -> str:
        if before.speculative and sample.speculative is False:
            return "restarted without speculation: now it shows plain decoding"
        if before.speculative is False and sample.speculative:
            return f"restarted, and speculates now{_depth(sample)}; before it decoded plainly"
        if before.depth and sample.depth and before.depth != sample.depth:
            return f"restarted: k {before.depth} → {sample.depth}; a new segment"
        return "restarted; a new segment"

    # For screens.

    def plain(self) -> Plain | None:
        """Plain decoding as this server shows it, if it does not speculate now."""
        with self.lock:
            last = self.history.last
            if last is None or last.speculative is not False or self.history.segments.mixed:
                return None
            return self._plain_of(self.history.segment, self.name)

    def earlier_plain(self) -> Plain | None:
        """Plain decoding in an earlier segment of this server: before it was restarted with speculation."""
        with self.lock:
            last = self.history.last
            for segment in range(self.history.segment - 1, 0, -1):
                samples = self.history.of_segment(segment)
                if (
                    samples
                    and last
                    and samples[-1].speculative is False
                    and samples[-1].engine == last.engine
                ):
                    return self._plain_of(segment, "before its restart")
            return None

    def _plain_of(self, segment: int, source: str) -> Plain | None:
        minutes = self.history.minutes(segment)
        if sum(one.rounds or 0 for one in minutes) < 500 and (whole := self.history.since_start(segment)):
            minutes = [whole]
        return Plain(source, tuple(minutes)) if minutes else None

    def view(self, now: float, window: str = "5 min", plain: Plain | None = None, columns: int = 30) -> View:
        """Everything to be shown, with `columns` stretches of its course."""
        with self.lock:
            last = self.history.last
            state, words = self._state(now)
            base = View(
                self.url, self.name, state, words, about=self.about, window=window, events=tuple(self.events),
                polls=self._polls, page_bytes=self._bytes, began_at=self.began_at,
            )  # fmt: skip
            if last is None:
                return base
            history = self.history
            minutes = history.minutes()
            slices: Sequence[Figures] = ()
            figures: Figures | None = None
            if not history.segments.mixed:
                slices, figures = self._window(window, minutes)
            whole = history.since_start()
            return replace(
                base,
                sample=last,
                at=last.at,
                figures=figures,
                since_start=whole,
                now=history.recent(NOW_S),
                payoff=self._payoff(slices, whole, plain),
                course=self.course(columns),
                segment=history.segment,
                restarted_at=self._restarted_at,
                up_seconds=None if last.mark is None else max(last.at + self.skew_s - last.mark, 0.0),
            )

    def _payoff(self, slices: Sequence[Figures], whole: Figures | None, plain: Plain | None) -> Payoff:
        last = self.history.last
        if last is None or self.history.segments.mixed:
            return UNKNOWN
        if last.speculative is False:
            token = added_ms(slices, whole)
            return Payoff("?", "it does not speculate", ms_per_token=token)
        if self.reference and last.speculative and plain is None:
            return Payoff("?", NO_BASELINE)
        return payoff(slices, whole, plain)

    def _window(self, window: str, minutes: Sequence[Figures]) -> tuple[Sequence[Figures], Figures | None]:
        """Stretches of the window with something in them, and all of it with histograms."""
        wanted = WINDOWS.get(window, 5)
        if wanted == 0:
            figures = self.history.recent(30.0)
            return ([figures] if figures and figures.rounds else []), figures
        slices = minutes if wanted is None else minutes[-wanted:]
        if not slices or slices[0].start is None:
            return slices, self.history.recent(60.0 * (wanted or 1440))
        begin, end = slices[0].start, self.history.last
        samples = self.history.of_segment(self.history.segment)
        first = samples[bisect_left(samples, begin, key=lambda sample: sample.at)]
        assert end is not None
        return slices, between(first, end, running=mean([one.running for one in slices]))

    def course(self, columns: int, most: float = 3600.0) -> Course | None:
        """The stretches for charts: of the shortest span that holds what was watched."""
        first, last = self.history.first, self.history.last
        if first is None or last is None or columns < 1:
            return None
        end = last.at
        watched = end - first.at
        span = next((length for length in SPANS if length >= watched or length >= most), SPANS[-1])
        # Whole steps of the clock, so that what is drawn moves by a column and else stands still.
        step = span / columns
        end = (end // step + 1) * step
        begin = end - span
        figures = tuple(self.history.stretches(begin, end, columns))
        marks = tuple(int((at - begin) // step) for at in self.history.restarts(begin, end))
        return Course(begin, end, figures, marks)

    def brief(self) -> View:
        """The facts of the server, without state and figures."""
        with self.lock:
            return View(self.url, self.name, "asking", "", about=self.about, sample=self.history.last)

    def state(self, now: float) -> tuple[State, str]:
        """The state, and a sentence on it, without any figures."""
        with self.lock:
            return self._state(now)

    def _state(self, now: float) -> tuple[State, str]:
        last = self.history.last
        if self._problem is not None:
            state, words = self._problem
            if state == "foreign" or last is None or self._silent_since is None:
                return state, words
            return state, f"silent {_length(now - self._silent_since)} ({words})"
        if last is None:
            return "asking", "asking for its metrics …"
        if self.history.segments.mixed:
            return "mixed", (
                "Counters jump back and forth: two servers answer here. Rates are held; give their own URLs."
            )
        if last.speculative is False:
            return "plain", "This server does not speculate; its time per token can be the plain of others."
        if not last.drafts and last.engine == "llama.cpp":
            return "undrafted", (
                "No draft yet: the counters of llama.cpp move when a request ends."
                if last.speculative
                else "No draft counted: it does not speculate, or no request has ended yet."
            )
        if not last.running and (self._busy_at is None or now - self._busy_at > IDLE_S):
            since = "" if self._busy_at is None else f" {_length(now - self._busy_at)}"
            return "idle", f"idle{since}; figures are of its last busy minutes"
        return "live", ""


def added_ms(slices: Sequence[Figures], whole: Figures | None) -> float | None:
    """Time per token of stretches, or since the server's start where there are none."""
    figures = added(list(slices)) or whole
    return figures.ms_per_token if figures else None


def _length(seconds: float) -> str:
    """``16 s``, ``04:12``, ``2:05:09``."""
    whole = max(round(seconds), 0)
    if whole < 60:
        return f"{whole} s"
    minutes, s = divmod(whole, 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}:{m:02d}:{s:02d}" if hours else f"{m:02d}:{s:02d}"


def _depth(sample: Sample) -> str:
    return f", k {sample.depth}" if sample.depth else ""


def _speculates(sample: Sample) -> str:
    if sample.speculative is None:
        return "no draft counted yet"
    return f"speculates{_depth(sample)}" if sample.speculative else "does not speculate"
