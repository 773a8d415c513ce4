"""Rounds of llama.cpp, from the running counts of drafted and accepted tokens in its stream.

The counts change with the first token of a round, so that each difference is one round with its place. llama.cpp holds
tokens back that end within a character; where rounds come together that way, their sums are right and how they divide
is a guess, which is said.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from spectui.servers.answers.base import CHAT, NO_HEADERS, Answer, Pieces, Question, Text, count_in
from spectui.servers.errors import ServerError
from spectui.servers.rounds import ServerRound, ended


@dataclass
class _Open:
    """A round whose tokens are still coming."""

    drafted: int
    accepted: int
    prefix_length: int
    begun_ms: float
    ms: float
    tokens: list[int] = field(default_factory=list)

    @property
    def room(self) -> int:
        return self.accepted + 1 - len(self.tokens)

    def closed(self) -> ServerRound:
        return ServerRound(
            self.drafted,
            self.accepted,
            len(self.tokens),
            self.ms - self.begun_ms,
            tuple(self.tokens),
            self.prefix_length,
        )


class LlamaReading:
    """Reads one streamed answer of llama.cpp."""

    path = CHAT
    headers = NO_HEADERS

    def __init__(self, question: Question, pieces: Pieces) -> None:
        self._question = question
        self._pieces = pieces
        self._text = Text()
        self._first: int | None = None
        self._prompt = 0
        self._seen = self._drafted = self._accepted = 0
        self._ms = 0.0
        self._open: list[_Open] = []
        self._timed = False
        self._silent_end = False
        self._merged = 0
        self._longest = 0
        """The longest draft that came by itself."""

    def body(self) -> dict[str, Any]:
        """The request, with the counts in every chunk."""
        return self._question.body() | {"timings_per_token": True}

    def feed(self, event: Mapping[str, Any], at: float) -> list[ServerRound]:
        """Rounds that are complete with this chunk: all but the last."""
        piece, _ = self._text.feed(event)
        timings = event.get("timings")
        if not isinstance(timings, Mapping):
            return []
        self._timed = True
        seen = count_in(timings, "predicted_n") or 0
        drafted = count_in(timings, "draft_n") or 0
        accepted = count_in(timings, "draft_n_accepted") or 0
        ms = timings.get("predicted_ms")
        if seen > self._question.max_tokens + 1:
            raise ServerError("the server sends more tokens than it was asked for")
        new = seen - self._seen
        more_drafted, more_accepted = drafted - self._drafted, accepted - self._accepted
        if new < 0 or more_drafted < 0 or not 0 <= more_accepted <= more_drafted:
            raise ServerError("llama.cpp's counts of drafted and accepted tokens run backwards")
        self._seen, self._drafted, self._accepted = seen, drafted, accepted
        sound = isinstance(ms, int | float) and self._ms <= ms < math.inf
        now_ms = float(ms or 0.0) if sound else self._ms
        # Without text at the end: an end token.
        self._silent_end |= bool(new and self._text.reason and not piece)
        # Text that was held back belongs to the last of the tokens that it took.
        tokens = [self._pieces.id_of("")] * (new - 1) + [self._pieces.id_of(piece)] if new else []
        if self._first is None and tokens:
            self._first = tokens.pop(0)
            cached = count_in(timings, "cache_n") or 0
            self._prompt = (count_in(timings, "prompt_n") or 0) + cached
            self._ms = now_ms if not tokens else 0.0
        self._add(tokens, more_drafted, more_accepted, now_ms)
        self._ms = now_ms
        complete, self._open = self._open[:-1], self._open[-1:]
        return [each.closed() for each in complete]

    def first_token(self) -> int | None:
        """The token that came with the prompt's own pass."""
        return self._first

    def close(self) -> Answer:
        """The end, with the last round."""
        if not self._timed:
            raise ServerError("the server streams no timings, which rounds are read from; update llama.cpp")
        reason = self._text.finish_reason(self._question.max_tokens)
        last = [each.closed() for each in self._open]
        rounds = ended(last, sum(each.emitted for each in last), self._text.reason)
        if rounds and self._silent_end and rounds[-1].drafted > rounds[-1].accepted:
            # Of an end token it is not told whether it was drafted, so that this step was never at risk.
            rounds[-1] = replace(rounds[-1], cut="eos")
        self._open = []
        notes: tuple[str, ...] = ()
        if self._merged:
            notes = (f"{self._merged} rounds came within one character: how their drafts divide is a guess",)
        return Answer(
            text=self._text.whole,
            reason=reason,
            prompt_tokens=self._text.prompt_tokens or self._prompt or None,
            tokens=self._seen,
            rounds=tuple(rounds),
            notes=notes,
        )

    def _add(self, tokens: list[int], drafted: int, accepted: int, ms: float) -> None:
        """Take up new tokens: first those of the open round, then of a new one, or of plain steps."""
        place = self._prompt + self._seen - len(tokens)
        if self._open:
            taken = tokens[: self._open[-1].room]
            self._open[-1].tokens += taken
            tokens, place = tokens[len(taken) :], place + len(taken)
        for more_drafted, more_accepted in self._divided(len(tokens), drafted, accepted):
            each = _Open(
                more_drafted, more_accepted, place, self._open[-1].ms if self._open else self._ms, ms
            )
            taken = tokens[: each.room]
            each.tokens += taken
            tokens, place = tokens[len(taken) :], place + len(taken)
            self._open.append(each)

    def _divided(self, tokens: int, drafted: int, accepted: int) -> list[tuple[int, int]]:
        """Rounds that emit so many tokens, the last one perhaps more: drafted and accepted of each."""
        if not drafted:
            return [(0, 0)] * tokens
        count = max(tokens - accepted, 1)
        if self._longest and tokens > 1:
            count = min(max(count, -(-drafted // self._longest)), tokens)  # each has one of them at least
        if count == 1:
            if tokens == 1:
                self._longest = max(self._longest, drafted)
            return [(drafted, accepted)]
        self._merged += count
        rounds = []
        for left in range(count, 0, -1):
            share = -(-drafted // left)
            taken = min(accepted, share)
            rounds.append((share, taken))
            drafted, accepted = drafted - share, accepted - taken
        return rounds
