"""Rounds of vLLM: from what it says of each request, from its counters, or from the sizes of streamed chunks."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from spectui.servers.answers.base import CHAT, NO_HEADERS, Answer, Pieces, Question
from spectui.servers.answers.chunked import Chunks
from spectui.servers.answers.token_texts import TokenTexts
from spectui.servers.errors import ServerError
from spectui.servers.rounds import MOST_DRAFTED, ServerRound, ended, unordered


class VllmReading:
    """Reads one streamed answer of vLLM; a subclass for each source of its rounds."""

    path = CHAT
    headers = NO_HEADERS

    def __init__(self, question: Question, pieces: Pieces, texts: TokenTexts | None = None) -> None:
        self._question = question
        self._pieces = pieces
        self._texts = texts
        self._first: int | None = None
        self._chunks = Chunks(question.max_tokens)
        self._details: Mapping[str, Any] | None = None

    def body(self) -> dict[str, Any]:
        """The request, with the ids of its tokens."""
        return self._question.body() | {"return_token_ids": True}

    def feed(self, event: Mapping[str, Any], at: float) -> list[ServerRound]:
        """No round before the end."""
        self._chunks.feed(event, at)
        details = details_of(event)
        self._details = self._details if details is None else details
        return []

    def first_token(self) -> int | None:
        """The token that came with the prompt's own pass, once it is known that rounds follow with theirs."""
        return self._first

    def _ids(self) -> list[int]:
        ids = self._chunks.ids(self._pieces, self._texts)
        self._first = ids[0] if ids else None
        return ids

    def _answer(self, rounds: Sequence[ServerRound], tokens: int, *notes: str) -> Answer:
        text = self._chunks.text
        return Answer(
            text=text.whole,
            reason=text.finish_reason(self._question.max_tokens),
            prompt_tokens=text.prompt_tokens,
            tokens=tokens,
            rounds=tuple(rounds),
            notes=notes,
        )

    def _token_count(self) -> int:
        """Tokens of the whole answer, an end token included."""
        count = self._chunks.text.tokens
        return self._chunks.count if count is None else count

    def _timed(self, rounds: list[ServerRound]) -> list[ServerRound]:
        times = self._chunks.step_ms(len(rounds))
        return [replace(each, ms=ms) for each, ms in zip(rounds, times, strict=True)]


class DetailedReading(VllmReading):
    """Reads the arrays of ``--per-request-spec-decode-metrics detailed``."""

    def close(self) -> Answer:
        """The end, with all rounds, in order. Raises `ServerError` where the arrays are missing."""
        self._chunks.text.finish_reason(self._question.max_tokens)
        tokens, steps_told = self._token_count(), steps_of(self._details)
        refuse_more_rounds(len(steps_told), tokens)
        rounds = [ServerRound(d, a, a + 1) for d, a in steps_told]
        after_first = max(tokens - 1, 0)
        plain = after_first - sum(each.emitted for each in rounds)
        rounds = ended(rounds, after_first, self._chunks.text.reason)
        steps = self._between_plain_steps(rounds) if self._chunks.count == tokens else []
        if not steps and plain <= 0:  # every step drafted, so that each follows the one before
            steps = [(each, True) for each in rounds]
        if steps:
            timed = self._timed([each for each, _ in steps])
            return self._answer(self._placed(timed, [known for _, known in steps], tokens), tokens)
        # Of steps that drafted nothing it is not told when they were, only how many.
        return self._answer(self._timed([*rounds, *[ServerRound(0, 0, 1)] * plain]), tokens)

    def _between_plain_steps(self, rounds: list[ServerRound]) -> list[tuple[ServerRound, bool]]:
        sizes = [chunk.size for chunk in self._chunks.all[1:]]
        steps = interleaved(rounds, sizes)
        if not steps and rounds and sizes:  # accepted beyond the end
            last = ended(rounds[-1:], sizes[-1], self._chunks.text.reason)
            steps = interleaved([*rounds[:-1], *last], sizes)
        return steps

    def _placed(self, rounds: Sequence[ServerRound], known: Sequence[bool], tokens: int) -> list[ServerRound]:
        """The rounds with their places, as far as those are known, and, where the server tells ids, their tokens."""
        ids = self._ids() if self._chunks.count == tokens else []
        place = 1
        placed = []
        prompt = self._chunks.text.prompt_tokens
        for each, is_known in zip(rounds, known, strict=True):
            placed.append(
                replace(
                    each,
                    prefix_length=prompt + place if is_known and prompt is not None else None,
                    tokens=tuple(ids[place : place + each.emitted]),
                )
            )
            place += each.emitted
        return placed


def interleaved(rounds: Sequence[ServerRound], sizes: Sequence[int]) -> list[tuple[ServerRound, bool]]:
    """Rounds with the plain steps between them, by the sizes of chunks, and whether the place of each is known.

    A chunk of several tokens is the next round that emitted as many. Between two of those a round in which nothing was
    accepted looks like a plain step: that many of both there are is known, and all their tokens are the target's.
    Nothing where chunks were merged, so that they do not fit.
    """
    left, steps, single = deque(rounds), list[tuple[ServerRound, bool]](), 0
    for size in (*sizes, 0):  # 0: the end
        if size == 1:
            single += 1
            continue
        several: list[ServerRound] = []
        while left and left[0].emitted == 1:
            several.append(left.popleft())
        plain = single - len(several)
        if plain < 0 or (size and not (left and left[0].emitted == size)):
            return []
        known = not plain or not several
        last = several.pop() if several and several[-1].cut else None  # nothing comes after it
        steps += [(each, known) for each in several]
        steps += [(ServerRound(0, 0, 1), known)] * plain
        steps += [] if last is None else [(last, True)]
        steps += [(left.popleft(), True)] if size else []
        single = 0
    return [] if left else steps


@dataclass(frozen=True)
class Counts:
    """A server's counters, or what a request added to them."""

    drafts: int
    drafted: int
    accepted: int
    by_position: tuple[int, ...]
    generated: int

    def __sub__(self, before: Counts) -> Counts:
        earlier = (*before.by_position, *[0] * len(self.by_position))
        return Counts(
            self.drafts - before.drafts,
            self.drafted - before.drafted,
            self.accepted - before.accepted,
            tuple(now - then for now, then in zip(self.by_position, earlier, strict=False)),
            self.generated - before.generated,
        )


class CountersReading(VllmReading):
    """Reads what one request, alone in flight, adds to the server's counters."""

    def __init__(self, question: Question, pieces: Pieces, count: Callable[[], Counts]) -> None:
        super().__init__(question, pieces)
        self._count = count
        self._before = count()

    def close(self) -> Answer:
        """The end, with rounds in no order. Raises `ServerError` when other requests were counted, too."""
        self._chunks.text.finish_reason(self._question.max_tokens)
        tokens = self._token_count()
        added = self._count() - self._before
        if added.generated != tokens:
            raise ServerError(
                f"the server counted {added.generated} tokens, and this answer has {tokens}: others use it, too, so"
                " that its counters tell nothing of one request",
                passing=True,
            )
        rounds = rounds_of_counts(added, tokens)
        after_first = max(tokens - 1, 0)
        plain = after_first - sum(each.emitted for each in rounds)
        rounds = unordered(rounds, after_first, self._chunks.text.reason)
        return self._answer(self._timed([*rounds, *[ServerRound(0, 0, 1)] * max(plain, 0)]), tokens)


class ChunksReading(VllmReading):
    """Takes each chunk for one step: an estimate, for chunks merge when their reader or the server lags."""

    def __init__(
        self, question: Question, pieces: Pieces, texts: TokenTexts | None = None, drafted: int = 0
    ) -> None:
        super().__init__(question, pieces, texts)
        self._drafted = drafted

    def body(self) -> dict[str, Any]:
        """The request, with ids and log probabilities, either of which counts a chunk's tokens."""
        return super().body() | {"logprobs": True}

    def close(self) -> Answer:
        """The end, with a round for each chunk."""
        self._chunks.text.finish_reason(self._question.max_tokens)
        ids, prompt = self._ids(), self._chunks.text.prompt_tokens
        place, rounds = 1, list[ServerRound]()
        longest = max([self._drafted, *(chunk.size - 1 for chunk in self._chunks.all[1:])])
        for chunk in self._chunks.all[1:]:
            rounds.append(
                ServerRound(
                    longest,
                    chunk.size - 1,
                    chunk.size,
                    tokens=tuple(ids[place : place + chunk.size]),
                    prefix_length=None if prompt is None else prompt + place,
                )
            )
            place += chunk.size
        return self._answer(self._timed(rounds), self._token_count())


def details_of(answer: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The details of speculation in an answer of vLLM, or the last event of one; None where it has none."""
    metrics = answer.get("metrics")
    details = metrics.get("speculative_decoding") if isinstance(metrics, Mapping) else None
    return details if isinstance(details, Mapping) else None


def steps_of(details: Mapping[str, Any] | None) -> list[tuple[int, int]]:
    """Drafted and accepted of each step. Raises `ServerError` where the arrays are missing or contradict each other."""
    drafted = accepted = None
    if details is not None:
        drafted, accepted = details.get("per_step_drafted"), details.get("per_step_accepted")
    if not isinstance(drafted, list) or not isinstance(accepted, list):
        raise ServerError("the answer lacks vLLM's per-step arrays, which the answers before it had")
    steps = list(zip(drafted, accepted, strict=False))
    sound = len(drafted) == len(accepted) and all(
        isinstance(d, int) and isinstance(a, int) and 0 <= a <= d < MOST_DRAFTED for d, a in steps
    )
    if not sound:
        raise ServerError("vLLM's per-step arrays contradict each other")
    return steps


def refuse_more_rounds(rounds: int, tokens: int) -> None:
    """Raise `ServerError` for more rounds than an answer has tokens: each brings one at least."""
    if rounds > tokens:
        raise ServerError(f"the server counted {rounds:.6g} rounds for an answer of {tokens} tokens")


def rounds_of_counts(added: Counts, tokens: int) -> list[ServerRound]:
    """Rounds of which the counts are the sums, the longest first; their draft lengths are spread evenly.

    Raises `ServerError` for counts that contradict themselves, or an answer of so many tokens.
    """
    reaching = (added.drafts, *added.by_position)
    falls = any(a < b for a, b in pairwise(reaching))
    if (
        falls
        or min(reaching) < 0
        or sum(added.by_position) != added.accepted
        or added.accepted > added.drafted
    ):
        raise ServerError(
            "the server's counters ran backwards: it was restarted, or there are two of it", passing=True
        )
    refuse_more_rounds(added.drafts, tokens)
    accepted = sorted(
        (sum(1 for reached in added.by_position if reached > index) for index in range(added.drafts)),
        reverse=True,
    )
    drafted, rounds, left = added.drafted, list[ServerRound](), sum(accepted)
    for index, length in enumerate(accepted):
        left -= length
        share = -(-drafted // (len(accepted) - index))
        share = max(length, min(share, drafted - left))
        drafted -= share
        rounds.append(ServerRound(share, length, length + 1))
    return rounds
