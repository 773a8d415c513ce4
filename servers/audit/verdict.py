"""Verdicts on outputs: identical, parted where two tokens are as good as equally likely, or parted by a bug.

Two programs that compute the same model round differently, so that a token may win in one and lose in the other by a
hair. An output that parts where the target clearly prefers another token is none of the target's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from spectui.servers.audit.outputs import Output, Token

Verdict = Literal["identical", "tie", "bug", "unknown", "failed"]
IDENTICAL: Verdict = "identical"
TIE: Verdict = "tie"
BUG: Verdict = "bug"
UNKNOWN: Verdict = "unknown"
FAILED: Verdict = "failed"

TIE_NATS = 1.0
"""The largest margin that is taken for rounding, and the one where nothing tells how far apart the two compute."""
NOISE = 3.0
"""As many times as both differ on how far a token is before its rival, a margin may be rounding."""
LEAST_NATS = 0.02
"""A margin below this is rounding in any precision."""


@dataclass(frozen=True)
class Parting:
    """A place where an output has another token than the reference chooses."""

    place: int
    """Tokens of the output before it."""
    token: str
    """The token of the output."""
    choice: str
    """That of the reference."""
    margin: float | None
    """Log probability of the choice less that of the token, by the reference, or by the server where that has none."""
    at_least: bool = False
    """True where the token is not among the likeliest, so that the margin is larger."""


@dataclass(frozen=True)
class Compared:
    """One output, compared with the reference."""

    prompt_id: str
    task: str
    tokens: int
    partings: tuple[Parting, ...] = ()
    """The first place, or, where the reference judges every token behind the output's own beginning, all of them."""
    differences: tuple[float, ...] = ()
    """Differences of both on the gap from a token to its rival, the next likely one, after the same beginning."""
    failure: str = ""
    """The reason that it could not be compared."""


@dataclass(frozen=True)
class Audit:
    """All outputs of an audit."""

    compared: tuple[Compared, ...]
    limit: float
    """Margins up to this, in nats, are rounding."""
    limit_from: str
    """The reason for the limit, in words."""
    counts: dict[Verdict, int] = field(default_factory=dict)

    def verdict_on(self, each: Compared) -> Verdict:
        """The verdict on one output."""
        return _verdict(each, self.limit)

    @property
    def verdict(self) -> Verdict:
        """The worst of all that could be compared; `FAILED` without a bug where more than half could not."""
        failed = 2 * self.counts.get(FAILED, 0) > len(self.compared)
        ranked = (BUG,) if failed else (BUG, UNKNOWN, TIE, IDENTICAL)
        return next((verdict for verdict in ranked if self.counts.get(verdict)), FAILED)


def audit_of(compared: Sequence[Compared], tolerance: float | None = None) -> Audit:
    """The audit of these outputs, with `tolerance` for the limit of rounding, or one by what was seen."""
    limit, why = (tolerance, "as asked for") if tolerance is not None else limit_of(compared)
    audit = Audit(tuple(compared), limit, why)
    for each in compared:
        verdict = audit.verdict_on(each)
        audit.counts[verdict] = audit.counts.get(verdict, 0) + 1
    return audit


def limit_of(compared: Sequence[Compared]) -> tuple[float, str]:
    """The largest margin that rounding explains, and the reason.

    By the differences of both on the same gaps, of which all but the largest hundredth count: a bug that feeds the
    target something else would lift its own limit by the few that it moves.
    """
    differences = sorted(abs(d) for each in compared for d in each.differences)
    if not differences:
        return TIE_NATS, "by default, as the server gives no log probabilities that are right"
    usual = differences[int(0.99 * (len(differences) - 1))]
    limit = min(max(NOISE * usual, LEAST_NATS), TIE_NATS)
    return limit, f"as both differ by up to {usual:.2g} nats on how far a token is before the next"


def compare(prompt_id: str, task: str, output: Output, reference: Output) -> Compared:
    """An output beside that of a server to the same prompt."""
    if failure := output.failure or reference.failure:
        return Compared(prompt_id, task, 0, failure=failure)
    if None not in (output.prompt_tokens, reference.prompt_tokens) and (
        output.prompt_tokens != reference.prompt_tokens
    ):
        return Compared(
            prompt_id, task, len(output.tokens),
            failure=f"the prompt has {output.prompt_tokens} tokens here and {reference.prompt_tokens} there:"
            " their chat templates differ",
        )  # fmt: skip
    pairs = list(zip(output.tokens, reference.tokens, strict=False))
    place = next((i for i, (a, b) in enumerate(pairs) if not _agree(a, b)), len(pairs))
    differences = tuple(each for a, b in pairs[:place] if (each := _difference(a, b)) is not None)
    if place == len(output.tokens) == len(reference.tokens):
        return Compared(prompt_id, task, len(output.tokens), differences=differences)
    if place == len(pairs):
        return Compared(
            prompt_id, task, len(output.tokens),
            failure="one of both stopped before its limit, without an end token",
        )  # fmt: skip
    token, choice = pairs[place]
    margin, at_least = _margin(token, choice)
    parting = Parting(place, shown(token), shown(choice), margin, at_least)
    return Compared(prompt_id, task, len(output.tokens), (parting,), differences)


def shown(token: Token) -> str:
    """A token for people."""
    return "the end" if token.is_end else repr(token.piece.decode("utf-8", "replace"))


def _difference(a: Token, b: Token) -> float | None:
    if a.rival is None:
        return None
    here, there = a.gap_to(a.rival), b.gap_to(a.rival)
    return None if here is None or there is None else here - there


def _agree(a: Token, b: Token) -> bool:
    return a.is_end == b.is_end and (a.is_end or a.same(b))


def _margin(token: Token, choice: Token) -> tuple[float | None, bool]:
    """By the reference's log probabilities at the parting, or by those of the audited server."""
    if choice.choices:
        other = choice.logprob_of(token)
        last = choice.choices[-1].logprob
        return choice.choices[0].logprob - (last if other is None else other), other is None
    gap = token.gap_to(choice) if token.choices else None
    if gap is not None:
        return abs(gap), False
    return None, False


def _verdict(each: Compared, limit: float) -> Verdict:
    if each.failure:
        return FAILED
    if not each.partings:
        return IDENTICAL
    margins = [parting.margin for parting in each.partings]
    if any(margin is not None and margin > limit for margin in margins):
        return BUG
    uncertain = any(parting.margin is None or parting.at_least for parting in each.partings)
    return UNKNOWN if uncertain else TIE
