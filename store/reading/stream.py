"""The text of a round as spans: what was accepted, what was rejected, what the target added."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from spectui.store.rows import NodeRow, RoundRow


@dataclass(frozen=True)
class Span:
    """Consecutive tokens of one kind."""

    kind: Literal["accepted", "rejected", "target"]
    token_ids: tuple[int, ...]
    round_number: int


def spans(round_row: RoundRow) -> list[Span]:
    """The accepted tokens, the draft's rejected continuation, the target's own token; empty ones left out.

    The rejected span is what the drafter liked best after the accepted path: from its end follow the
    children of lowest rank. A path that was cut had no continuation the target refused, so none is shown.
    """
    path = round_row.accepted_path
    found = [Span("accepted", tuple(n.token_id for n in path), round_row.number)]
    if round_row.cut is None:
        rejected = tuple(n.token_id for n in _favourites(round_row.nodes, path[-1].idx if path else None))
        found.append(Span("rejected", rejected, round_row.number))
    if round_row.bonus_token_id is not None:
        found.append(Span("target", (round_row.bonus_token_id,), round_row.number))
    return [span for span in found if span.token_ids]


def _favourites(nodes: tuple[NodeRow, ...], start: int | None) -> list[NodeRow]:
    best: dict[int | None, NodeRow] = {}
    for node in nodes:
        held = best.get(node.parent)
        if held is None or node.rank < held.rank:
            best[node.parent] = node
    chain: list[NodeRow] = []
    while start in best:
        chain.append(best[start])
        start = chain[-1].idx
    return chain
