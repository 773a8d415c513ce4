"""What is recorded of a round, computed on the device and brought over in one piece."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from spectui.decoding.device.acceptance import Accepted
from spectui.decoding.device.static_tree import DeviceTree
from spectui.decoding.target.distributions import LEAST, tempered
from spectui.decoding.trees.shape import ROOT, Draw, IntArray, TokenTree


def distribution(logits: torch.Tensor, *, temperature: float, top_p: float) -> torch.Tensor:
    """See `decoding.target.distributions.distribution`; sorts whole rows rather than look whether it has to."""
    p = tempered(logits, temperature)
    if temperature == 0.0 or top_p >= 1.0:
        return p
    top_p = max(top_p, LEAST)
    values, index = p.sort(dim=-1, descending=True)
    before = values.cumsum(-1) - values
    nucleus = torch.zeros_like(p).scatter_(-1, index, torch.where(before < top_p, values, 0.0))
    normalised: torch.Tensor = nucleus / nucleus.sum(-1, keepdim=True)
    return normalised


@dataclass(frozen=True)
class Figures:
    """A round's numbers on the host, lists of length N (`best`: N + 1)."""

    token: list[int]
    parent: list[int]
    rank: list[int]
    slot: list[int]
    """Where the draft was fed the node; -1 where it was not."""
    valid: list[bool]
    logprob: list[float]
    draft_entropy: list[float]
    on_path: list[bool]
    target_p: list[float]
    target_entropy: list[float]
    best: list[int]
    bonus: int
    draws: int
    finite: bool

    def tree(self, draw: Draw) -> tuple[TokenTree, IntArray]:
        """The tree, without nodes that are not valid, and which of them all its nodes are."""
        kept = np.flatnonzero(self.valid)
        index = {ROOT: ROOT} | {int(old): new for new, old in enumerate(kept)}
        parent = [index[self.parent[node]] for node in kept]
        depth: list[int] = []
        for above in parent:
            depth.append(1 if above == ROOT else depth[above] + 1)
        numbers = (np.asarray(values, dtype=np.int64) for values in (self.token, self.rank))
        token, rank = (values[kept] for values in numbers)
        figures = (np.asarray(values, dtype=np.float64) for values in (self.logprob, self.draft_entropy))
        logprob, nats = (values[kept] for values in figures)
        parents, depths = (np.asarray(values, dtype=np.int64) for values in (parent, depth))
        return TokenTree(token, parents, depths, rank, logprob, nats, draw), kept


def packed(
    tree: DeviceTree,
    accepted: Accepted,
    parent: torch.Tensor,
    rank: torch.Tensor,
    slot: torch.Tensor,
    p: torch.Tensor,
    best: torch.Tensor,
    finite: torch.Tensor,
) -> torch.Tensor:
    """Everything side by side, for one transfer: the round's one wait. Token ids are exact in float64.

    `parent`, `rank` and `slot` are ``[N]``, `p` ``[N + 1, V]``, `best` ``[N + 1]``.
    """
    nats = torch.special.entr(p).sum(-1).double()
    target_p = p[parent + 1].gather(1, tree.token[:, None])[:, 0]
    columns = (
        tree.token, parent, rank, slot, tree.valid, tree.logprob, tree.entropy, accepted.on_path, target_p,
        nats[parent + 1], best, accepted.bonus[None], accepted.draws[None], finite[None],
    )  # fmt: skip
    return torch.cat([column.double() for column in columns])


def unpacked(flat: list[float], size: int) -> Figures:
    """What `packed` has put together, of a tree of `size` nodes."""
    parts, at = [], 0
    for length in (*[size] * 10, size + 1, 1, 1, 1):
        parts.append(flat[at : at + length])
        at += length
    *whole, valid, logprob, draft_entropy, on_path, likely, entropy, argmax, bonus, draws, fine = parts
    token, parent, rank, slot = ([int(number) for number in numbers] for numbers in whole)
    return Figures(
        token, parent, rank, slot, [v > 0 for v in valid], logprob, draft_entropy, [v > 0 for v in on_path],
        likely, entropy, [int(t) for t in argmax], int(bonus[0]), int(draws[0]), fine[0] > 0,
    )  # fmt: skip
