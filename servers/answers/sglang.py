"""Rounds of SGLang, from the histogram of accepted lengths in each answer: their number, not their order."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate
from typing import Any

from spectui.servers.answers.base import CHAT, NO_HEADERS, Answer, Pieces, Question
from spectui.servers.answers.chunked import Chunks
from spectui.servers.answers.vllm import Counts, rounds_of_counts
from spectui.servers.errors import ServerError
from spectui.servers.rounds import MOST_DRAFTED, ServerRound, unordered


class HistogramReading:
    """Reads one streamed answer of SGLang."""

    path = CHAT
    headers = NO_HEADERS

    def __init__(self, question: Question, pieces: Pieces) -> None:
        self._question = question
        self._pieces = pieces
        self._chunks = Chunks(question.max_tokens)
        self._details: Mapping[str, Any] | None = None

    def body(self) -> dict[str, Any]:
        """The request, with the details of its speculation."""
        return self._question.body() | {"return_spec_tokens_details": True}

    def feed(self, event: Mapping[str, Any], at: float) -> list[ServerRound]:
        """No round before the end."""
        self._chunks.feed(event, at)
        details = spec_details(event)
        self._details = self._details if details is None else details
        return []

    def first_token(self) -> int | None:
        """Not known: chunks are no tokens."""
        return None

    def close(self) -> Answer:
        """The end, with rounds in no order. Raises `ServerError` where the details are missing."""
        text = self._chunks.text
        reason = text.finish_reason(self._question.max_tokens)
        if self._details is None:
            raise ServerError("the answer lacks SGLang's spec_tokens_details; it needs 0.5.19 or newer")
        tokens = text.tokens
        if tokens is None:
            raise ServerError("the answer does not say how many tokens it has")
        after_first = max(tokens - 1, 0)
        rounds = unordered(rounds_of_histogram(self._details, tokens), after_first, text.reason)
        plain = after_first - sum(each.emitted for each in rounds)
        rounds += [ServerRound(0, 0, 1)] * plain
        whole = self._chunks.ms
        share = None if whole is None or not rounds else whole / len(rounds)
        timed = tuple(
            ServerRound(each.drafted, each.accepted, each.emitted, share, cut=each.cut) for each in rounds
        )
        return Answer(text.whole, reason, text.prompt_tokens, tokens, timed)


def spec_details(answer: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The details of speculation in an answer or an event of it; None where it has none."""
    extension = answer.get("sglext")
    details = extension.get("spec_tokens_details") if isinstance(extension, Mapping) else None
    return details if isinstance(details, Mapping) else None


def rounds_of_histogram(details: Mapping[str, Any], tokens: int) -> list[ServerRound]:
    """The rounds that a histogram counts, the longest first. Raises `ServerError` for one that contradicts itself."""
    histogram = details.get("spec_correct_drafts_histogram")
    proposed = details.get("spec_num_proposed_drafts")
    calls = details.get("spec_verify_ct")
    counts = histogram if isinstance(histogram, list) else []
    if not 0 < len(counts) <= MOST_DRAFTED or not all(
        isinstance(n, int) and n >= 0 for n in [*counts, proposed, calls]
    ):
        raise ServerError("SGLang's spec_tokens_details are not as they should be")
    by_position = tuple(accumulate(reversed(counts[1:])))[::-1]
    drafts = sum(counts)
    if drafts != calls:
        raise ServerError("SGLang's histogram does not have as many rounds as it verified")
    return rounds_of_counts(Counts(drafts, int(proposed or 0), sum(by_position), by_position, 0), tokens)
