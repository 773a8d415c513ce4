"""A server's rounds as the store keeps them, their ends brought to the form that spectui's own engine gives them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from spectui.servers.errors import ServerError
from spectui.store.records import UNKNOWN_TOKEN, Cut, NodeRecord, RoundRecord

MOST_DRAFTED = 10_000
"""A server that tells of as many draft tokens in one round talks rubbish."""


@dataclass(frozen=True)
class ServerRound:
    """One draft and its verification, or a plain step, for which nothing was drafted.

    Raises `ServerError` for counts that cannot be.
    """

    drafted: int
    accepted: int
    emitted: int
    """Tokens that it added to the output: at most one more than were accepted."""
    ms: float | None = None
    tokens: tuple[int, ...] = ()
    """Ids of the tokens it emitted; empty where they are not known."""
    prefix_length: int | None = None
    """Tokens before it, those of the prompt included; None where its place is not known."""
    cut: Cut | None = None
    nodes: tuple[NodeRecord, ...] = ()
    """Those that were drafted, where more is known of them than which were accepted."""
    explained: bool | None = None
    """As in `store.records.RoundRecord`."""

    def __post_init__(self) -> None:
        if not 0 <= self.accepted <= self.drafted < MOST_DRAFTED:
            raise ServerError(
                f"the server tells of a round with {self.drafted:.6g} draft tokens, {self.accepted:.6g} of them"
                " accepted, which cannot be"
            )


def ended(rounds: Sequence[ServerRound], tokens: int, reason: str | None) -> list[ServerRound]:
    """Rounds in order that end with the output, of `tokens` after the first one, as spectui's engine has them.

    vLLM counts what was accepted beyond the end of the output, llama.cpp drafts no more than there is room for. In both
    cases the step behind the last token was never at risk: the round's path is cut there.
    """
    room, kept = tokens, list[ServerRound]()
    for each in rounds:
        emitted = min(each.accepted + 1, room)
        room -= emitted
        kept.append(_shortened(each, emitted, reason))
        if room <= 0:
            break
    if kept and room <= 0 and reason == "length" and kept[-1].accepted == kept[-1].drafted > 0:
        kept[-1] = replace(kept[-1], cut="length")
    return kept


def unordered(rounds: Sequence[ServerRound], tokens: int, reason: str | None) -> list[ServerRound]:
    """As `ended`, of rounds in no order: the last one is the shortest that can have gone beyond the end."""
    beyond = sum(each.accepted + 1 for each in rounds) - tokens
    able = [index for index, each in enumerate(rounds) if each.accepted >= beyond]
    if beyond <= 0 or not able:
        return ended(rounds, tokens, None)
    last = min(able, key=lambda index: rounds[index].accepted)
    return ended([*rounds[:last], *rounds[last + 1 :], rounds[last]], tokens, reason)


def _shortened(each: ServerRound, emitted: int, reason: str | None) -> ServerRound:
    """The round with so many tokens of it in the output."""
    if emitted > each.accepted:
        return replace(each, emitted=emitted)
    cut: Cut = "eos" if reason == "stop" else "length"
    return replace(each, accepted=emitted, emitted=emitted, cut=cut, tokens=each.tokens[:emitted])


def to_record(number: int, each: ServerRound) -> RoundRecord:
    """The round as a chain of nodes with what is known of them."""
    tokens = each.tokens or (UNKNOWN_TOKEN,) * each.emitted
    return RoundRecord(
        number=number,
        prefix_length=each.prefix_length,
        accepted_length=each.accepted,
        bonus_token_id=tokens[each.accepted] if each.emitted > each.accepted else None,
        cut=each.cut,
        draft_ms=None,
        verify_ms=None,
        other_ms=each.ms,
        explained=each.explained,
        nodes=each.nodes
        or [
            NodeRecord(
                idx=idx,
                parent=idx - 1 if idx else None,
                depth=idx + 1,
                rank=0,
                token_id=tokens[idx] if idx < each.accepted else UNKNOWN_TOKEN,
                draft_p=None,
                target_p=None,
                draft_entropy=None,
                target_entropy=None,
                match=None,
                accepted=idx < each.accepted,
            )
            for idx in range(each.drafted)
        ],
    )
