"""A head's acceptance by depth and rank, along the target's own tokens."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from spectui.decoding.distill.shards import Sequence
from spectui.decoding.distill.unroll import Batch, unroll
from spectui.decoding.eagle.head import EagleHead
from spectui.decoding.trees.shape import FloatArray
from spectui.store.files import write_text

RANKS = 8
"""Siblings whose chance is counted."""

BATCH = 4


@dataclass(frozen=True)
class Profile:
    """Shares over all response positions of some sequences.

    ``rank_share[d, r]``: the child of rank r of a node at depth d is the target's choice, given that the
    node was accepted: its true path is fed, or in a P-EAGLE head, which reads none, the levels above had it among
    their first `RANKS`. ``chain[d]``: the same of rank 0, given that all ranks above
    were 0 too, which is what a chain sees. ``covered``: the target's choice is in the draft vocabulary.
    """

    positions: int
    rank_share: FloatArray
    chain: FloatArray
    covered: float

    def tau(self, depth: int) -> float:
        """Expected tokens per round of a chain of `depth`: 1 + the sum of the survivals."""
        return float(1.0 + self.chain[:depth].cumprod().sum())

    def save(self, path: Path, trees: dict[str, float]) -> None:
        """Write ``{"positions", "rank_share", "chain", "covered", "trees"}`` as JSON.

        `trees` are measured tokens per round: dynamic trees follow from no shares. What is read again is
        `decoding.trees.profile.Profile`.
        """
        data = {
            "positions": self.positions,
            "covered": round(self.covered, 4),
            "trees": trees,
            "chain": [round(v, 4) for v in self.chain.tolist()],
            "rank_share": [[round(v, 4) for v in row] for row in self.rank_share.tolist()],
        }
        write_text(path, json.dumps(data, indent=1) + "\n")


@torch.inference_mode()
def profile(head: EagleHead, sequences: Iterable[Sequence], passes: int) -> Profile:
    """Run `head` from every response position of `sequences`, `passes` levels deep."""
    device = head.draft_ids.device
    hits = torch.zeros(passes, RANKS, dtype=torch.float64)
    totals = torch.zeros(passes, dtype=torch.float64)
    chain = torch.zeros(passes, 2, dtype=torch.float64)
    covered = 0.0
    ids = head.draft_ids

    def run(group: list[Sequence]) -> None:
        nonlocal covered
        batch = Batch.of(group, device)
        alive = torch.ones_like(batch.tokens, dtype=torch.bool)
        reached = alive.clone()
        for part in unroll(head, batch, passes, 1.0, None):
            best = part.of(batch.best)
            ranked = ids[head.logits(part.hidden[part.counts]).topk(min(RANKS, len(ids)), dim=-1).indices]
            right = ranked == best[:, None]
            row = part.rows[part.counts]
            line = torch.arange(len(part.rows), device=device)[:, None].expand_as(part.rows)[part.counts]
            there = reached[line, row]
            hits[part.depth, : right.shape[1]] += right[there].sum(0).cpu()
            totals[part.depth] += int(there.sum())
            if part.depth == 0:
                covered += float(torch.isin(best, ids).sum())
            # A chain goes on where the target went along with it: rank 0 right, and the token that came.
            on = alive[line, row]
            chain[part.depth, 0] += float((right[:, 0] & on).sum())
            chain[part.depth, 1] += float(on.sum())
            followed = part.of(batch.tokens.roll(-1, dims=1)) == best
            alive[line, row] = on & right[:, 0] & followed
            if head.mask_hidden is not None:
                reached[line, row] = there & right.any(1) & followed

    group: list[Sequence] = []
    for sequence in sequences:
        group.append(sequence)
        if len(group) == BATCH:
            run(group)
            group = []
    if group:
        run(group)
    return Profile(
        int(totals[0]),
        (hits / totals.clamp_min(1)[:, None]).numpy(),
        (chain[:, 0] / chain[:, 1].clamp_min(1)).numpy(),
        covered / max(1.0, float(totals[0])),
    )
