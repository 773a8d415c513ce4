"""Reads one session for the live screen: the prompt that is shown, its newest rounds, the figures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from time import monotonic

from spectui.store.counts.metrics import Interval
from spectui.store.reading.choices import choice_of, choices, latest_choices
from spectui.store.reading.reader import Reader
from spectui.store.reading.replicas import replicas
from spectui.store.records import UNKNOWN_TOKEN
from spectui.store.rows import GenerationRow, RoundRow, SessionSummary
from spectui.tui.charts.sources import SourceReader
from spectui.tui.feeds.base import (
    CHART_SECONDS,
    IDLE_SECONDS,
    LIVE_SECONDS,
    PRESENCE_SECONDS,
    SHARED_SECONDS,
    Feed,
)
from spectui.tui.feeds.tokens import Tokens
from spectui.tui.model.gaps import GapFinder, Gaps
from spectui.tui.model.pieces import Piece, StreamDecoder, token_text, tokens_of
from spectui.tui.model.state import Charts, Ended, Opened, RunState, Stream, Tree
from spectui.tui.terminal.textsafe import sanitize

PAGE, CHUNK_OF_PROMPTS = 300, 5000
"""Prompts around the newest that are shown at once where there are more, and those read at a time afterwards."""
CHUNK = 256
"""Rounds read at a time: a long generation arrives in steps that keep the screen answering."""
INTERVAL_SECONDS, INTERVAL_SHARE = 5.0, 0.02
"""Between two resamplings of the prompts: at least, and the share of the time they may take when prompts are many."""
PROMPTS_SECONDS = 30.0
"""Between two readings of all prompts; in between, only those that have begun and not ended are read."""
DWELL_SECONDS = 2.0
"""For how long a prompt is followed at least, unless it ends."""
TREE_SECONDS = 1.0
"""Least time between two trees while they come by themselves: more could not be read."""


class SessionFeed(Feed):
    """Reads one session for the live screen."""

    def __init__(self, database: Path, session_id: int, post: Callable[[object], None]) -> None:
        super().__init__(database, post)
        self.session_id = session_id
        self._wanted: int | None = None
        self._preferred: int | None = None
        """The one to follow of several that are being decoded; None: the one that is shown."""
        self._wanted_round: int | None = None
        self._generation: GenerationRow | None = None
        self._decoder = StreamDecoder()
        self._named = False
        """True when a token of the prompt has been told."""
        self._gaps = GapFinder()
        self._seen = 0
        self._more = False
        self._opened_at = float("-inf")
        self._shown_round: tuple[int, int, int] | None = None
        self._state: RunState | None = None
        self._by_id: dict[int, GenerationRow] = {}
        self._rows: list[GenerationRow] = []
        self._rows_of: tuple[object, ...] = ()
        self._rows_at = float("-inf")
        self._sources = SourceReader(session_id)
        self._charts: Charts | None = None
        self._intervals: Mapping[str, Interval] = {}
        self._state_at = self._charts_at = self._intervals_due = self._tree_at = float("-inf")
        self._state_stale = self._charts_stale = True
        self._outlined = False
        self._unread = 0
        """The position from which on prompts are still to be read, while `_rows` are those of the first page."""
        self._complete = True
        self._gathered: list[GenerationRow] = []
        self._closed = False
        self._tokens = Tokens()
        self._state_fresh = False
        self._caught_up = False
        self._prompts: dict[int, str] = {}

    def look_at(self, generation_id: int | None, *, keep_round: bool = False) -> None:
        """Show this prompt, or None: one that is being decoded, and the next when it has ended."""
        self._wanted = self._preferred = generation_id
        if not keep_round:
            self._wanted_round = None
        self.ask()

    def follow_from(self, generation_id: int) -> None:
        """Show this prompt while it is being decoded, then the next that is."""
        self._wanted, self._preferred = None, generation_id
        self._wanted_round = None
        self.ask()

    def hurry(self) -> None:
        """Read the session at the next look, which is now: a command was just sent."""
        self._state_at = float("-inf")
        self._state_stale = True
        self.ask()

    def look_at_round(self, number: int | None) -> None:
        """Show the tree of this round, or None: the newest."""
        self._wanted_round = number
        self.ask()

    def period(self) -> float:
        """Short while a worker is at work, none while there is a backlog."""
        if self._state is None or self._more or self._outlined or not self._complete:
            return 0.0
        if not self._state.summary.live:
            return IDLE_SECONDS
        return SHARED_SECONDS if self._state.summary.device == "cpu" else LIVE_SECONDS

    def poll(self, reader: Reader, *, changed: bool) -> Iterable[object]:
        """Everything that is new since the last call."""
        self._state_stale = self._state_stale or changed
        self._charts_stale = self._charts_stale or changed
        now = monotonic()
        yield from self._read_state(reader, now)
        yield from self._read_on(reader)
        yield from self._read_generation()
        yield from self._read_rounds(reader, now)
        yield from self._read_charts(reader, now)

    def _read_state(self, reader: Reader, now: float) -> Iterator[RunState]:
        live = self._state is None or self._state.summary.live
        # Until the first round little is written, and how far loading is can be told at once.
        pace = LIVE_SECONDS if self._state is None or not self._state.summary.rounds else CHART_SECONDS
        due = self._state_stale and now - self._state_at >= pace
        if not due and not (live and now - self._state_at >= PRESENCE_SECONDS):
            return
        self._state_at = now
        self._state_stale = False
        self._state_fresh = True
        summary = reader.session(self.session_id)
        state = RunState(
            summary,
            self._generations(reader, summary, now),
            self._prompts,
            tuple(reader.pending_commands(self.session_id)),
            self._complete,
            self._unexplained(reader, summary),
            tuple(replicas(reader, self.session_id)),
        )
        if state != self._state:
            self._state = state
            self._by_id = {g.id: g for g in state.generations}
            yield state

    def _unexplained(self, reader: Reader, summary: SessionSummary) -> tuple[int, int] | None:
        if summary.unexplained_round_id is None:
            return None
        known = self._state.unexplained if self._state is not None else None
        return known or reader.place_of(summary.unexplained_round_id)

    def _generations(self, reader: Reader, summary: SessionSummary, now: float) -> tuple[GenerationRow, ...]:
        """The prompts; their texts never change and are read once, those that ended not again while a run goes on."""
        same = _identity(summary)
        if same == self._rows_of and now - self._rows_at < PROMPTS_SECONDS:
            first = next((i for i, g in enumerate(self._rows) if g.status in ("pending", "running")), None)
            if first is None and summary.of_clients:
                first = len(self._rows)
            if first is not None:
                position = self._rows[first].position if first < len(self._rows) else first
                begun = reader.begun_generations(self.session_id, position)
                both = min(len(begun), len(self._rows) - first)
                if [g.id for g in begun[:both]] == [g.id for g in self._rows[first : first + both]]:
                    self._rows[first : first + len(begun)] = begun
                    return tuple(self._rows)
        if not self._complete:
            return tuple(self._rows)
        if self._state is None and summary.prompt_count > PAGE:
            return self._first_page(reader)
        self._rows_of, self._rows_at = same, now
        self._rows = reader.generations(self.session_id, texts=False)
        if len(self._rows) != len(self._prompts):
            self._prompts = reader.prompt_texts(self.session_id)
        return tuple(self._rows)

    def _first_page(self, reader: Reader) -> tuple[GenerationRow, ...]:
        """The prompts around the newest one; the others follow in `_read_on`."""
        first = max(reader.last_begun(self.session_id) - PAGE // 2, 0)
        self._rows = reader.generations(self.session_id, texts=False, within=(first, first + PAGE))
        self._prompts = reader.prompt_texts(self.session_id, (first, first + PAGE))
        self._complete = False
        return tuple(self._rows)

    def _read_on(self, reader: Reader) -> Iterator[RunState]:
        """Some more of the prompts of a long session; with the last of them, the state that has them all."""
        if self._complete or self._state is None:
            return
        first, end = self._unread, self._unread + CHUNK_OF_PROMPTS
        page = reader.generations(self.session_id, texts=False, within=(first, end))
        self._gathered += page
        self._unread = end
        if page:
            return
        self._rows, self._gathered, self._complete = self._gathered, [], True
        self._prompts = reader.prompt_texts(self.session_id)
        self._by_id = {g.id: g for g in self._rows}
        summary = self._state.summary
        self._rows_of = _identity(summary)
        self._rows_at = monotonic()
        self._state = replace(
            self._state, generations=tuple(self._rows), prompts=self._prompts, complete=True
        )
        yield self._state

    def _read_generation(self) -> Iterator[Opened]:
        state = self._state
        if state is None or not state.generations:
            return
        wanted = self._by_id.get(self._wanted) if self._wanted is not None else self._followed(state)
        if wanted is None:
            return
        # A run that is taken up again begins its unfinished prompt anew.
        begun_anew = self._state_fresh and wanted.round_count < self._seen
        self._state_fresh = False
        if self._generation is None or wanted.id != self._generation.id or begun_anew:
            self._opened_at = monotonic()
            self._decoder = StreamDecoder()
            self._gaps = GapFinder()
            self._seen = 0
            self._closed = self._caught_up = self._named = False
            self._shown_round = None
            self._tree_at = float("-inf")  # the pane is empty now
            self._generation = wanted
            yield Opened(wanted)
        self._generation = wanted

    def _followed(self, state: RunState) -> GenerationRow:
        """The newest prompt; the one before it for a moment, where prompts are many at once: each can then be read.

        Replicas decode several at a time: then the one that is preferred, or shown, is followed to its end.
        """
        for chosen in (self._preferred, self._generation.id if self._generation and state.replicas else None):
            row = self._by_id.get(chosen) if chosen is not None else None
            if row is not None and row.status == "running":
                return row
        newest = _newest(state.generations)
        shown = self._by_id.get(self._generation.id) if self._generation is not None else None
        if shown is None or shown.status != "running" or monotonic() - self._opened_at >= DWELL_SECONDS:
            return newest
        return shown

    def _read_rounds(self, reader: Reader, now: float) -> Iterator[Stream | Tree | Ended | Gaps]:
        generation = self._generation
        if generation is None:
            return
        rounds = reader.rounds(generation.id, after=self._seen, limit=CHUNK)
        self._more = len(rounds) == CHUNK
        if rounds:
            ids = {token for row in rounds for token in tokens_of(row)}
            self._learn(reader, ids)
            self._gaps.learn(ids, self._tokens)
            pieces = []
            for row in rounds:
                self._named = self._named or any(token != UNKNOWN_TOKEN for token in row.emitted)
                pieces += [*self._gaps.note(row), *self._decoder.feed(row, self._tokens)]
            self._seen = rounds[-1].number
            yield Stream(generation.id, tuple(pieces), new=self._caught_up)
        elif generation.status not in ("pending", "running") and not self._closed:
            self._closed = True
            rest = self._gaps.end(generation.round_count)
            if text := self._decoder.close():
                rest.insert(0, Piece("accepted", text, self._seen, 0))
            if self._seen and not self._named:
                # Of a server that tells the text alone; its tokens are none's.
                rest.insert(
                    0, Piece("note", sanitize(reader.generation(generation.id).output), self._seen, 0)
                )
            if rest:
                yield Stream(generation.id, tuple(rest), new=False)
            yield Ended(generation)
        yield from self._gaps.news()
        self._caught_up = self._caught_up or not self._more
        following = self._wanted_round is None and generation.status == "running"
        if not following or now - self._tree_at >= TREE_SECONDS:
            for tree in self._read_tree(reader, generation.id, rounds[-1] if rounds else None):
                self._tree_at = now
                yield tree

    def _read_tree(self, reader: Reader, generation_id: int, newest: RoundRow | None) -> Iterator[Tree]:
        number = self._wanted_round or self._seen
        key = (generation_id, number, self._seen)
        if not number or key == self._shown_round:
            return
        row = newest
        if row is None or row.number != number:
            rounds = reader.rounds(generation_id, after=number - 1, limit=1)
            if not rounds:
                return
            row = rounds[0]
        self._shown_round = key
        ids = tokens_of(row)
        self._learn(reader, ids)
        choice = None if row.choice_id is None else choice_of(reader, row.choice_id)
        now = (
            {} if choice is None or number < self._seen else latest_choices(choices(reader, self.session_id))
        )
        yield Tree(row, {i: token_text(i, self._tokens) for i in ids}, self._seen, choice, now)

    def _read_charts(self, reader: Reader, now: float) -> Iterator[Charts]:
        if not self._charts_stale or now - self._charts_at < CHART_SECONDS:
            return
        if self._charts is None:
            # The rest costs more than all else of a screen's first look: numpy and a history.
            self._charts = Charts(reader.figures(self.session_id), {}, whole=False)
            self._outlined = True
            yield self._charts
            return
        self._charts_stale = False
        self._charts_at = now
        if now >= self._intervals_due or not self._live():
            begun = monotonic()
            self._intervals = reader.intervals(self.session_id)
            self._intervals_due = now + max(INTERVAL_SECONDS, (monotonic() - begun) / INTERVAL_SHARE)
        charts = Charts(reader.figures(self.session_id), self._intervals, self._sources.read(reader))
        self._outlined = False
        if charts != self._charts:
            self._charts = charts
            yield charts

    def _live(self) -> bool:
        return self._state is not None and self._state.summary.live

    def _learn(self, reader: Reader, ids: set[int]) -> None:
        if self._state is not None:
            self._tokens.learn(reader, self._state.summary.tokenizer_id, ids)


def _identity(summary: SessionSummary) -> tuple[object, ...]:
    """Everything that differs when prompts that had ended may have changed."""
    # Requests of clients come on top of those that are known.
    prompts = 0 if summary.of_clients else summary.prompt_count
    return (summary.pid, summary.status, summary.started_at, prompts, summary.pruned)


def _newest(generations: tuple[GenerationRow, ...]) -> GenerationRow:
    """The prompt being decoded, else the one that was decoded last, else the first."""
    running = [g for g in generations if g.status == "running"]
    if running:
        return running[-1]
    started = [g for g in generations if g.started_at]
    return max(started, key=lambda g: (g.started_at or "", g.position)) if started else generations[0]
