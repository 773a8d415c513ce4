"""The text of a replay: a part of one prompt that can go on from any of its rounds, or back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from spectui.store.reading.reader import Reader
from spectui.store.records import UNKNOWN_TOKEN
from spectui.store.rows import GenerationRow, RoundRow
from spectui.tui.feeds.tokens import Tokens
from spectui.tui.model.gaps import GapFinder, Gaps
from spectui.tui.model.moment import waiting
from spectui.tui.model.pieces import Piece, StreamDecoder, tokens_of
from spectui.tui.model.state import Ended, Opened, Rewound, Stream
from spectui.tui.model.timeline import Place
from spectui.tui.terminal.textsafe import sanitize

WINDOW = 256
"""Rounds of text before the moment that a jump reads."""


class ReplayText:
    """The text that is shown: of one prompt, from its round `first` to its round `number`."""

    def __init__(self) -> None:
        self.tokens = Tokens()
        self.generation_id = -1
        self.first = 1
        self.number = 0
        self.ended = False
        self.gaps = GapFinder()
        self._states: list[tuple[int, tuple[bytes, int]]] = []
        self._named = False
        """True when a token of the prompt has been told; else its text is known as a whole alone."""
        self._decoder = StreamDecoder()

    @property
    def last_round(self) -> int:
        """The round that is shown, or the one before it where it is missing; 0 when all are."""
        return self._states[-1][0] if self._states else 0

    def show(
        self, reader: Reader, place: Place, row: GenerationRow, tokenizer_id: str
    ) -> Iterator[Opened | Stream | Rewound | Ended | Gaps]:
        """Go to a place in the prompt of `row`; what has to be shown for that."""
        jumps = place.generation_id != self.generation_id or not (
            self.first <= place.number <= self.number + WINDOW
        )
        if jumps:
            self.open(place.generation_id, max(place.number - WINDOW, 0))
            yield Opened(replace(waiting(row), status="running"))
            if self.first > 1:
                words = f"⋯ Rounds 1 to {self.first - 1:,} of this prompt came before.\n\n"
                yield Stream(place.generation_id, (Piece("note", words, 0, 0),), new=False)
        if place.number < self.number:
            self.rewind(place.number)
            yield Rewound(place.generation_id, place.number)
        elif place.number > self.number:
            rounds = reader.rounds(place.generation_id, after=self.number, limit=place.number - self.number)
            rounds = [each for each in rounds if each.number <= place.number]
            self.tokens.learn(reader, tokenizer_id, (i for each in rounds for i in tokens_of(each)))
            pieces = self.feed(rounds)
            self.number = place.number
            yield Stream(place.generation_id, tuple(pieces), new=not jumps)
        yield from self.gaps.news()
        if place.number >= row.round_count and row.status not in ("pending", "running") and not self.ended:
            self.ended = True
            if not self._named and self.number:
                output = sanitize(reader.generation(place.generation_id).output)
                yield Stream(place.generation_id, (Piece("note", output, self.number, 0),), new=False)
            yield Ended(row)

    def open(self, generation_id: int, after: int) -> None:
        """Begin anew after a round of a prompt."""
        self.generation_id, self.first, self.number, self.ended = generation_id, after + 1, after, False
        self._states, self._decoder, self.gaps = [], StreamDecoder(), GapFinder(after)
        self._named = False

    def feed(self, rounds: Iterable[RoundRow]) -> list[Piece]:
        """The pieces of the next rounds."""
        pieces: list[Piece] = []
        for row in rounds:
            self.gaps.learn(tokens_of(row), self.tokens)
            self._named = self._named or any(token != UNKNOWN_TOKEN for token in row.emitted)
            pieces += [*self.gaps.note(row), *self._decoder.feed(row, self.tokens)]
            self._states.append((row.number, self._decoder.state))
        return pieces

    def rewind(self, number: int) -> None:
        """Go back to where a round of this prompt ended."""
        while self._states and self._states[-1][0] > number:
            self._states.pop()
        self._decoder = StreamDecoder()
        if self._states:
            self._decoder.state = self._states[-1][1]
        self.gaps.rewind(number)
        self.number, self.ended = number, False
