"""Reads one round of a session at a time, and the text before it, for the inspector."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from spectui.store.reading import moments
from spectui.store.reading.reader import Reader
from spectui.store.rows import GenerationRow, RoundRow, SessionSummary
from spectui.tui.feeds.base import IDLE_SECONDS, PRESENCE_SECONDS, Feed
from spectui.tui.feeds.tokens import Tokens
from spectui.tui.model.inspection import items_of
from spectui.tui.model.pieces import StreamDecoder, token_text, tokens_of
from spectui.tui.model.timeline import Place, Timeline

BEFORE = 24
"""Rounds whose text stands before the one that is looked at."""
CHUNK = 16
"""Rounds read at a time when looking for a rejected node."""


@dataclass(frozen=True)
class Inspected:
    """A round to be shown, or that there is none."""

    summary: SessionSummary
    generation: GenerationRow | None
    """None: the session has no rounds."""
    prompts: int
    number: int
    last: int
    row: RoundRow | None
    """None: the round is missing."""
    texts: Mapping[int, str]
    """Token id -> text on one line."""
    before: str
    """The output before the round, or the end of it."""
    begun: bool
    """True when `before` begins with the output."""
    unknown: bool
    """True when tokens of the round have no bytes in the database."""
    node: int | None
    """The node to put the cursor on; None leaves it to the screen."""


@dataclass(frozen=True)
class NoneRejected:
    """The session has no rejected node after the round looked at, or before it for a `step` of -1."""

    step: int


class InspectorFeed(Feed):
    """Reads a round when it is asked for, and again when the session has grown."""

    def __init__(
        self, database: Path, session_id: int, post: Callable[[object], None], start: Place | None
    ) -> None:
        super().__init__(database, post)
        self.session_id = session_id
        self._place = start
        self._node: int | None = None
        self._timeline: Timeline | None = None
        self._summary: SessionSummary | None = None
        self._generations: dict[int, GenerationRow] = {}
        self._tokens = Tokens()
        self._shown: Inspected | None = None
        self._missed: NoneRejected | None = None

    def go(self, generation_id: int, number: int, node: int | None = None) -> None:
        """Show a round, with the cursor on a node."""
        self.request(lambda _: self._go(Place(generation_id, number), node))

    def step(self, rounds: int) -> None:
        """Show the round so many on, over the borders of prompts."""
        self.request(lambda _: self._step(rounds))

    def seek_rejected(self, step: int) -> None:
        """Show the next round (or the one before, for -1) that has a rejected node, or post `NoneRejected`."""
        self.request(lambda reader: self._seek_rejected(reader, step))

    def period(self) -> float:
        """Often while the session may grow."""
        if self._summary is None:
            return 0.0
        return PRESENCE_SECONDS if self._summary.live else IDLE_SECONDS

    def poll(self, reader: Reader, *, changed: bool) -> Iterable[object]:
        """The round that is asked for, when it is another."""
        if changed or self._summary is None:
            self._summary = reader.session(self.session_id)
            self._generations = {row.id: row for row in reader.generations(self.session_id, outputs=False)}
            stretches = moments.stretches(reader, self.session_id)
            self._timeline = Timeline(stretches) if stretches else None
        if self._timeline is not None:
            self._place = self._timeline.clamped(self._place or self._timeline.start)
        self.apply_requests(reader)
        item = self._read(reader)
        self._node = None
        if item != self._shown:
            self._shown = item
            yield item
        if self._missed is not None:
            yield self._missed
            self._missed = None

    def _go(self, place: Place, node: int | None) -> None:
        if self._timeline is not None:
            self._place, self._node = self._timeline.clamped(place), node

    def _step(self, rounds: int) -> None:
        if self._timeline is not None and self._place is not None:
            self._place = self._timeline.moved(self._place, rounds)

    def _seek_rejected(self, reader: Reader, step: int) -> None:
        if self._timeline is None:
            return
        for row in self._rounds(reader, step):
            rejected = [item.key for item in items_of(row, {}) if item.fate == "rejected"]
            if rejected:
                self._go(Place(row.generation_id, row.number), rejected[0 if step > 0 else -1])
                return
        self._missed = NoneRejected(step)

    def _rounds(self, reader: Reader, step: int) -> Iterator[RoundRow]:
        """Rounds after this one, or before it from the nearest, to the end of the session."""
        assert self._timeline is not None
        assert self._place is not None
        prompt: int | None = self._place.generation_id
        number = self._place.number
        while prompt is not None:
            if step > 0:
                while rows := reader.rounds(prompt, after=number, limit=CHUNK):
                    yield from rows
                    number = rows[-1].number
            else:
                while number > 1:
                    first = max(number - CHUNK, 1)
                    rows = [
                        r for r in reader.rounds(prompt, after=first - 1, limit=CHUNK) if r.number < number
                    ]
                    yield from reversed(rows)
                    number = first
            prompt = self._timeline.next_prompt(prompt, step)
            number = 0 if step > 0 or prompt is None else self._timeline.last(prompt) + 1

    def _read(self, reader: Reader) -> Inspected:
        assert self._summary is not None
        if self._timeline is None or self._place is None:
            return Inspected(self._summary, None, 0, 0, 0, None, {}, "", True, False, None)
        place = self._place
        rows = reader.rounds(place.generation_id, after=max(place.number - 1 - BEFORE, 0), limit=BEFORE + 1)
        row = next((r for r in rows if r.number == place.number), None)
        before = [r for r in rows if r.number < place.number]
        ids = tokens_of(row) if row else set()
        emitted = {i for r in before for i in (*r.emitted, r.first_token_id) if i is not None}
        self._tokens.learn(reader, self._summary.tokenizer_id, ids | emitted)
        decoder = StreamDecoder()
        pieces = [piece for r in before for piece in decoder.feed(r, self._tokens)]
        return Inspected(
            self._summary,
            self._generations[place.generation_id],
            len(self._generations),
            place.number,
            self._timeline.last(place.generation_id),
            row,
            {i: token_text(i, self._tokens) for i in ids},
            "".join(piece.text for piece in pieces if piece.kind != "rejected"),
            place.number - 1 <= BEFORE,
            any(i not in self._tokens for i in ids),
            self._node,
        )
