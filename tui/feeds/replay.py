"""Reads a session as it was at any moment, for a replay, and posts the same values that a live one is shown by.

The clock runs on recorded decoding time: at 1x a round lasts as long as it did. Key handlers enqueue requests; the
feed's thread applies them at the next poll.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from time import monotonic

from spectui.store.counts.bins import Bins
from spectui.store.counts.metrics import Interval
from spectui.store.reading import moments
from spectui.store.reading.choices import choice_of
from spectui.store.reading.moments import MomentBins, TaskSums
from spectui.store.reading.reader import Reader
from spectui.store.rows import GenerationRow, RoundRow, TaskFigures
from spectui.tui.charts.base import Source
from spectui.tui.charts.sources import read_sources
from spectui.tui.feeds.base import CHART_SECONDS, IDLE_SECONDS, LIVE_SECONDS, PRESENCE_SECONDS, Feed
from spectui.tui.feeds.replay_text import ReplayText
from spectui.tui.feeds.session import INTERVAL_SECONDS, TREE_SECONDS
from spectui.tui.model.goto import Target, ToPrompt, ToTime
from spectui.tui.model.moment import state_at, underway, waiting
from spectui.tui.model.pieces import token_text, tokens_of
from spectui.tui.model.state import (
    HELD,
    PLAYING,
    Charts,
    Moment,
    RunState,
    Tree,
)
from spectui.tui.model.timeline import Place, Timeline

SPEEDS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, math.inf)
"""Times the speed at which it was decoded; the last is as fast as the screen goes."""
AHEAD = 64
"""Rounds read at a time while playing."""
MOST = 256
"""Rounds of one step of the clock: what a slow screen cannot show is not made up for."""
STRIDE = 16
"""Rounds of a step at the highest speed."""
STEP_SECONDS = 0.1
"""Between two steps of the clock where each round is to be seen alone."""
SETTLED_SECONDS = 0.4
"""Without a move, before what takes long is worked out."""


class ReplayFeed(Feed):
    """Reads one session at the pace of a clock."""

    def __init__(
        self, database: Path, session_id: int, post: Callable[[object], None], start: Place | None = None
    ) -> None:
        super().__init__(database, post)
        self.session_id = session_id
        self._start = start
        self._base: RunState | None = None
        self._base_at = float("-inf")
        self._stale = True
        self._timeline: Timeline | None = None
        self._generations: list[GenerationRow] = []
        self._waiting: list[GenerationRow] = []
        self._index: dict[int, int] = {}
        self._place: Place | None = None
        self._playing = False
        self._speed = 1.0
        self._ticked = self._due_ms = 0.0
        self._ahead: deque[RoundRow] = deque()
        self._text = ReplayText()
        self._before: tuple[int, dict[str, TaskSums]] = (-1, {})
        self._intervals: Mapping[str, Interval] = {}
        self._intervals_for: Place | None = None
        self._figures: dict[str, TaskFigures] = {}
        self._sources: dict[str, Source] = {}
        self._bins = MomentBins()
        self._bins_wanted = False
        self._shown: dict[str, object] = {}
        self._moved_at = self._tree_at = self._charts_at = self._intervals_at = float("-inf")

    # Requests, from the screen's thread.

    def look_at(self, generation_id: int | None, *, keep_round: bool = False) -> None:
        """Go to the start of a prompt, as the live feed does; staying where we are is nothing to do."""
        if generation_id is not None and not keep_round:
            self.request(lambda _: self._go(Place(generation_id, 1)))

    def look_at_round(self, number: int | None) -> None:
        """Go to a round of the prompt that is shown."""
        if number is not None:
            self.request(lambda reader: self._seek(reader, ToPrompt(None, number)))

    def hurry(self) -> None:
        """Look now."""
        self.ask()

    def step(self, rounds: int) -> None:
        """Go on by some rounds, or back; stops playing."""
        self.request(lambda _: self._step(rounds))

    def step_prompt(self, step: int) -> None:
        """Go to the start of the next prompt that has rounds, or of this one and then of the one before."""
        self.request(lambda _: self._step_prompt(step))

    def toggle(self) -> None:
        """Play or hold; from the end, play from the start."""
        self.request(lambda _: self._toggle())

    def set_speed(self, speed: float) -> None:
        """Play at this speed from now on."""
        self.request(lambda _: setattr(self, "_speed", speed))

    def seek(self, target: Target) -> None:
        """Go to what was asked for; what lies beyond the end is the end."""
        self.request(lambda reader: self._seek(reader, target))

    def want_bins(self, wanted: bool) -> None:
        """Say that charts are shown which draw bins: those take a moment to count."""
        self.request(lambda _: setattr(self, "_bins_wanted", wanted))

    # The clock.

    def period(self) -> float:
        """Steps of the clock while it runs; else as a session that nobody writes is looked at."""
        if self._base is None:
            return 0.0
        if self._playing:
            return STEP_SECONDS if self._speed < 1 or math.isinf(self._speed) else LIVE_SECONDS
        if self._intervals_for != self._place:
            return SETTLED_SECONDS
        return PRESENCE_SECONDS if self._base.summary.live else IDLE_SECONDS

    def poll(self, reader: Reader, *, changed: bool) -> Iterable[object]:
        """Everything that is to be shown now and was not before."""
        self._stale = self._stale or changed
        now = monotonic()
        self._read_base(reader, now)
        assert self._base is not None
        if self._timeline is None:
            if self._shown.get("state") != self._base:
                self._shown["state"] = self._base
                yield self._base
            return
        moved = self.apply_requests(reader)
        if self._playing:
            self._run_clock(reader, now)
        yield from self._show(reader, now, moved=moved)

    def _read_base(self, reader: Reader, now: float) -> None:
        """The session as it is by now: it may still be growing."""
        due = self._stale and now - self._base_at >= PRESENCE_SECONDS
        if self._base is not None and not due:
            return
        self._base_at, self._stale = now, False
        with reader.snapshot():
            rows = reader.generations(self.session_id, outputs=False)
            stretches = moments.stretches(reader, self.session_id)
            summary = reader.session(self.session_id)
        self._base = RunState(summary, tuple(rows), {row.id: row.prompt_text for row in rows}, ())
        self._generations = rows
        self._waiting = [waiting(row) for row in rows]
        self._index = {row.id: index for index, row in enumerate(rows)}
        self._before = (-1, {})
        self._sources = read_sources(reader, self.session_id)
        self._timeline = Timeline(stretches) if stretches else None
        if self._timeline is not None:
            self._go(self._place or self._start or self._timeline.start)

    def _go(self, place: Place) -> None:
        assert self._timeline is not None
        place = self._timeline.clamped(place)
        if place != self._place:
            self._place = place
            self._ahead.clear()
            self._due_ms = 0.0

    def _step(self, rounds: int) -> None:
        self._playing = False
        if self._timeline is not None and self._place is not None:
            self._go(self._timeline.moved(self._place, rounds))

    def _step_prompt(self, step: int) -> None:
        if self._timeline is None or self._place is None:
            return
        prompt = self._place.generation_id
        if step < 0 and self._place.number > 1:
            self._go(Place(prompt, 1))
        elif (other := self._timeline.next_prompt(prompt, step)) is not None:
            self._go(Place(other, 1))

    def _toggle(self) -> None:
        self._playing = not self._playing
        self._ticked, self._due_ms = monotonic(), 0.0
        if self._playing and self._timeline is not None and self._place == self._timeline.end:
            self._go(self._timeline.start)

    def _seek(self, reader: Reader, target: Target) -> None:
        assert self._timeline is not None
        assert self._place is not None
        if isinstance(target, ToPrompt):
            index = self._index[self._place.generation_id] if target.prompt is None else target.prompt - 1
            self._go(Place(self._with_rounds(index), target.number))
            return
        total = self._timeline.total_ms
        ms = min(target.seconds * 1000 if isinstance(target, ToTime) else target.part * total, total)
        where = self._timeline.where(ms)
        stretch = self._timeline.stretches[where.stretch]
        number, rest = stretch.first, where.ms
        for row in moments.round_times(reader, stretch):
            number = row.number
            rest -= row.total_ms
            if rest <= 0:
                break
        self._go(Place(stretch.generation_id, number))

    def _with_rounds(self, index: int) -> int:
        """The id of the prompt at that place in the session, or of the next (then the last) that has rounds."""
        assert self._timeline is not None
        index = min(max(index, 0), len(self._generations) - 1)
        ids = [row.id for row in (*self._generations[index:], *reversed(self._generations[:index]))]
        return next(i for i in ids if self._timeline.last(i))

    def _run_clock(self, reader: Reader, now: float) -> None:
        """Go on by as many rounds as the time since the last step holds."""
        assert self._timeline is not None
        assert self._place is not None
        self._due_ms += (now - self._ticked) * 1000 * self._speed if not math.isinf(self._speed) else 0.0
        self._ticked = now
        for taken in range(MOST):
            if math.isinf(self._speed) and taken >= STRIDE:
                return
            row = self._next(reader)
            if row is None:
                self._playing = False
                return
            if not math.isinf(self._speed):
                if row.total_ms > self._due_ms:
                    return
                self._due_ms -= row.total_ms
            self._ahead.popleft()
            self._place = Place(row.generation_id, row.number)
        self._due_ms = 0.0

    def _next(self, reader: Reader) -> RoundRow | None:
        """The round after the present one, of this prompt or the next; rounds that are missing are passed over."""
        assert self._timeline is not None
        assert self._place is not None
        prompt: int | None = self._place.generation_id
        after = self._place.number
        while not self._ahead and prompt is not None:
            self._ahead.extend(reader.rounds(prompt, after=after, limit=AHEAD))
            prompt, after = self._timeline.next_prompt(prompt), 0
        return self._ahead[0] if self._ahead else None

    # What is shown.

    def _show(self, reader: Reader, now: float, *, moved: bool) -> Iterator[object]:
        assert self._base is not None
        assert self._place is not None
        if self._shown.get("place") != self._place:
            self._moved_at = now
        settled = moved or not self._playing
        charts_due = settled or now - self._charts_at >= CHART_SECONDS
        yield from self._show_state(reader, charts_due=charts_due)
        row = self._generations[self._index[self._place.generation_id]]
        yield from self._text.show(reader, self._place, row, self._base.summary.tokenizer_id)
        if settled or now - self._tree_at >= TREE_SECONDS:
            yield from self._show_tree(reader)
        yield from self._show_charts(reader, now, due=charts_due)
        self._shown["place"] = self._place
        yield from self._once("moment", self._moment())

    def _once(self, name: str, item: object) -> Iterator[object]:
        if self._shown.get(name) != item:
            self._shown[name] = item
            yield item

    def _moment(self) -> Moment:
        assert self._timeline is not None
        assert self._place is not None
        assert self._base is not None
        at_ms = sum(f.total_ms for f in self._figures.values())
        return Moment(self._timeline, self._place, at_ms, self._playing, self._speed, self._base.summary.live)

    def _show_state(self, reader: Reader, *, charts_due: bool) -> Iterator[object]:
        assert self._base is not None
        assert self._place is not None
        place, index = self._place, self._index[self._place.generation_id]
        row = self._generations[index]
        status = PLAYING if self._playing else HELD
        other_prompt = place.generation_id != getattr(self._shown.get("figures"), "generation_id", None)
        if self._shown.get("figures") != place and (charts_due or other_prompt):
            self._shown["figures"] = place
            if self._before[0] != index:
                self._before = index, moments.sums_before(reader, self.session_id, row.position)
            within = moments.sums_within(reader, place.generation_id, place.number)
            before = self._before[1]
            joined = before | {row.task: before[row.task] + within if row.task in before else within}
            self._figures = moments.figures({task: joined[task] for task in self._order(joined)})
            known = place.number >= row.round_count and row.status != "running"
            present = (
                row if known else underway(row, place.number, moments.figures({row.task: within})[row.task])
            )
            rows = (*self._generations[:index], present, *self._waiting[index + 1 :])
            self._shown["rows"] = rows
        rows = self._shown["rows"]  # type: ignore[assignment]
        at_ms = sum(f.total_ms for f in self._figures.values())
        yield from self._once("state", state_at(self._base, status, rows, [*self._figures.values()], at_ms))

    def _order(self, tasks: Mapping[str, object]) -> list[str]:
        assert self._base is not None
        return [task for task in self._base.summary.tasks if task in tasks]

    def _show_tree(self, reader: Reader) -> Iterator[object]:
        assert self._timeline is not None
        prompt, number = self._text.generation_id, self._text.last_round
        key = (prompt, number, self._timeline.last(prompt))
        if not number or self._shown.get("tree") == key:
            return
        self._shown["tree"] = key
        self._tree_at = monotonic()
        for row in reader.rounds(prompt, after=number - 1, limit=1):
            texts = {i: token_text(i, self._text.tokens) for i in tokens_of(row)}
            choice = None if row.choice_id is None else choice_of(reader, row.choice_id)
            yield Tree(row, texts, self._timeline.last(prompt), choice)

    def _show_charts(self, reader: Reader, now: float, *, due: bool) -> Iterator[object]:
        if not due:
            return
        self._charts_at = now
        place, known = self._place, self._intervals_for
        if place != known:
            other = known is None or place is None or place.generation_id != known.generation_id
            if not self._playing and now - self._moved_at < SETTLED_SECONDS:
                self._intervals = {} if other else self._intervals
            elif not self._playing or now - self._intervals_at >= INTERVAL_SECONDS:
                self._intervals_at, self._intervals_for = now, place
                deepest = max((depth for f in self._figures.values() for depth in f.depths), default=0)
                self._intervals = moments.intervals(self._shown["rows"], deepest)  # type: ignore[arg-type]
        yield from self._once(
            "charts", Charts(dict(self._figures), self._intervals, self._sources_now(reader))
        )

    def _sources_now(self, reader: Reader) -> dict[str, Source]:
        """The data of charts up to the moment, with bins while a chart shows them."""
        assert self._place is not None
        at_ms = sum(f.total_ms for f in self._figures.values())
        bins: Mapping[str, Bins] | None = {}
        if self._bins_wanted:
            known = self._generations[: self._index[self._place.generation_id] + 1]
            bins = self._bins.at(reader, known, self._place.number)
        why = "too many nodes to count at a moment" if bins is None else ""
        sources: dict[str, Source] = {}
        for task, source in self._sources.items():
            if task in self._figures:
                spans = tuple(span for span in source.spans if span.start < at_ms)
                of_task = (bins or {}).get(task)
                sources[task] = replace(
                    source,
                    bins=None if of_task is None or of_task.empty else of_task,
                    spans=spans,
                    unknown=why,
                )
        return sources
