"""One round, node by node, in words: what became of each and why. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from spectui.store.counts.metrics import at_risk, overlap
from spectui.store.rows import NodeRow, RoundRow
from spectui.tui.terminal.cells import share

Fate = Literal["accepted", "rejected", "not reached", "cut off", "target's own"]


@dataclass(frozen=True)
class Item:
    """A node, or (`node` None) the target's own token."""

    key: int
    """The node's index; -1 for the target's own token."""
    lead: str
    """The branches that lead to it."""
    text: str
    node: NodeRow | None
    fate: Fate

    @property
    def overlap(self) -> float | None:
        """See `metrics.overlap`; None for no node."""
        return overlap(self.node.target_p, self.node.draft_p) if self.node else None


def fate_of(node: NodeRow, row: RoundRow) -> Fate:
    """The fate of a node: rejected ones had their chance, those not reached had none."""
    if node.accepted:
        return "accepted"
    parent = next((n for n in row.nodes if n.idx == node.parent), None)
    above = node.parent is None or (parent is not None and parent.accepted)
    if not above:
        return "not reached"
    return "rejected" if at_risk(above, node.depth, row.accepted_length, row.cut) else "cut off"


def items_of(row: RoundRow, texts: Mapping[int, str]) -> list[Item]:
    """All nodes from the root down, each before its subtree, the target's own token in its place.

    Nodes whose parent is missing stand at the end, behind a ``?``.
    """
    known = {node.idx for node in row.nodes}
    children: dict[int | None, list[NodeRow]] = {}
    for node in sorted(row.nodes, key=lambda n: n.rank):
        children.setdefault(node.parent, []).append(node)
    path = row.accepted_path
    tip = path[-1].idx if path else None
    out: list[Item] = []

    def text(token_id: int) -> str:
        known = texts.get(token_id, "")
        return f"⟨id {token_id}⟩" if known in ("", f"⟨id {token_id}⟩") else known.replace(" ", "·")

    def visit(parent: int | None, lead: str) -> None:
        below = children.get(parent, [])
        bonus = row.bonus_token_id if parent == tip else None
        for place, node in enumerate(below):
            last = place == len(below) - 1 and bonus is None
            branch = "└─ " if last else "├─ "
            out.append(Item(node.idx, lead + branch, text(node.token_id), node, fate_of(node, row)))
            visit(node.idx, lead + ("   " if last else "│  "))
        if bonus is not None:
            out.append(Item(-1, lead + "└→ ", text(bonus), None, "target's own"))

    visit(None, "")
    for node in row.nodes:
        if node.parent is not None and node.parent not in known:
            out.append(Item(node.idx, "?─ ", text(node.token_id), node, fate_of(node, row)))
            visit(node.idx, "   ")
    return out


def why(item: Item, row: RoundRow, items: Sequence[Item], *, greedy: bool) -> str:
    """One sentence on what became of an item, and what the target wanted in its place.

    In a `greedy` run the target's first choice decides, and nothing is drawn.
    """
    if item.node is None:
        if any(i.node and i.node.match is None and i.node.parent == _tip(row) for i in items):
            choice = ", its first choice there" if greedy else ""
            return f"The target's own token after the accepted path{choice}."
        inside = any(i.node and i.node.match and i.node.parent == _tip(row) for i in items)
        other = "among the drafts, yet " + ("another was taken" if greedy else "another was drawn")
        how = other if inside else "not in the tree"
        return f"The target's own token after the accepted path; its first choice there was {how}."
    node = item.node
    if node.match is None:
        return f"{_UNJUDGED[item.fate]} {_unjudged(item, row, items, greedy=greedy)}"
    if item.fate == "accepted":
        return f"Accepted: the path goes through it. {_choice(node, row, items)}"
    if item.fate == "rejected":
        odds = "" if greedy or item.overlap is None else f" Sampling accepts it {_times(item.overlap)}."
        return f"Rejected: the path came to its parent and did not take it. {_choice(node, row, items)}{odds}"
    if item.fate == "cut off":
        end = "an end token" if row.cut == "eos" else "the limit of new tokens"
        return f"Never tried: {end} ended the output at its parent. {_choice(node, row, items)}"
    return f"Never tried: the path did not come to its parent. {_choice(node, row, items)}"


_UNJUDGED = {
    "accepted": "Accepted: the path goes through it.",
    "rejected": "Rejected: the path came to its parent and did not take it.",
    "cut off": "Never tried: the output ended at its parent.",
    "not reached": "Never tried: the path did not come to its parent.",
}
"""Fate -> what became of a node of which a server does not tell whether it is the target's first choice."""


def _unjudged(item: Item, row: RoundRow, items: Sequence[Item], *, greedy: bool) -> str:
    """The target's first choice at the node's parent, as far as what the path took tells it: where nothing is drawn."""
    if greedy and item.fate == "accepted":
        return "It is the target's first choice."
    parent = None if item.node is None else item.node.parent
    taken = next((i.text for i in items if i.node and i.node.accepted and i.node.parent == parent), "")
    if parent == _tip(row):
        taken = next((i.text for i in items if i.node is None), "")
    if greedy and item.fate == "rejected" and taken:
        return f"The target's first choice was {taken}."
    return "The target's first choice there is not known."


def _choice(node: NodeRow, row: RoundRow, items: Sequence[Item]) -> str:
    """The target's first choice at a node's parent."""
    if node.match:
        return "It is the target's first choice."
    first = next((i for i in items if i.node and i.node.match and i.node.parent == node.parent), None)
    if first is not None and first.node is not None:
        return f"The target's first choice was {first.text} (p {share(first.node.target_p)})."
    if node.parent == _tip(row) and row.bonus_token_id is not None:
        bonus = next((i.text for i in items if i.node is None), "")
        return f"The target's choice was not in the tree: {bonus}."
    return "The target's first choice was not in the tree, and is not recorded off the path."


def _times(chance: float) -> str:
    """``12 times in 100``: a chance as people say it."""
    return "less than once in 100" if chance < 0.005 else f"{chance * 100:.0f} times in 100 (min(1, p/q))"


def _tip(row: RoundRow) -> int | None:
    path = row.accepted_path
    return path[-1].idx if path else None


def missing(row: RoundRow, *, pruned: bool) -> str:
    """A sentence on the nodes of the round that are missing; "" when none is."""
    gone = row.node_count - len(row.nodes)
    if gone <= 0:
        return ""
    kept = (
        "pruned: those on the committed path were kept" if pruned else "missing: the file was cut or damaged"
    )
    return f"{gone} of the {row.node_count} nodes of this round are {kept}."
