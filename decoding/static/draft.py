"""A static tree grown on the device: which nodes there are is known before, which tokens nobody looks at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from decoding.static.plan import Plan, plan_of
from decoding.tree import ROOT, BoolArray, Draw, IntArray, TokenTree, TreeShape

ScoreTensors = Callable[[torch.Tensor, IntArray, BoolArray], torch.Tensor]
"""``score(token, depth, mask)`` as `decoding.drafters.expansion.Score`, the tokens on the device."""


@dataclass(frozen=True)
class DeviceTree:
    """A `TokenTree` whose values are still on the device.

    Its shape, that of `plan`, is known here; `token`, `valid`, `logprob` and `entropy` are ``[N]``, `rows`
    ``[N + 1, V]`` where children were drawn. A node without probability is not valid, nor is anything below it.
    """

    plan: Plan
    token: torch.Tensor
    valid: torch.Tensor
    logprob: torch.Tensor
    entropy: torch.Tensor
    rows: torch.Tensor | None
    draw: Draw
    fed: dict[int, int]
    """Node to slot of those that the draft was fed."""

    @property
    def shape(self) -> TreeShape:
        """Which nodes there are."""
        return self.plan.shape

    @classmethod
    def of(cls, tree: TokenTree, device: torch.device) -> DeviceTree:
        """A tree that was grown on the host, brought to the device."""
        plan = plan_of(TreeShape("", tree.parent, tree.depth, tree.rank), device)

        def up(values: NDArray[Any]) -> torch.Tensor:
            return torch.from_numpy(np.ascontiguousarray(values)).to(device, non_blocking=True)

        return cls(
            plan,
            up(tree.token),
            torch.ones(tree.size, dtype=torch.bool, device=device),
            up(tree.draft_logprob),
            up(tree.draft_entropy),
            None if tree.draft_rows is None else up(tree.draft_rows),
            tree.draw,
            {},
        )

    def at_home(
        self, token: IntArray, valid: BoolArray, logprob: Sequence[float], entropy: Sequence[float]
    ) -> tuple[TokenTree, dict[int, int]]:
        """The tree as its values came back, without nodes that are not valid, and where each node went."""
        kept = np.flatnonzero(valid)
        index = {ROOT: ROOT} | {int(old): new for new, old in enumerate(kept)}
        parent = np.asarray([index[int(p)] for p in self.shape.parent[kept]], dtype=np.int64)
        tree = TokenTree(
            token=np.asarray(token, dtype=np.int64)[kept],
            parent=parent,
            depth=self.shape.depth[kept],
            rank=self.shape.rank[kept],
            draft_logprob=np.asarray(logprob, dtype=np.float64)[kept],
            draft_entropy=np.asarray(entropy, dtype=np.float64)[kept],
            draw=self.draw,
        )
        return tree, index


def grow(
    plan: Plan,
    root_logits: torch.Tensor,
    score: ScoreTensors,
    vocab_size: int,
    distribution: Callable[[torch.Tensor], torch.Tensor],
    generator: torch.Generator | None,
) -> DeviceTree:
    """The shape of `plan` filled level by level from the draft's logits after the root, ``[1, W]``.

    With a `generator` children are drawn without replacement, else the likeliest are taken, as
    `decoding.drafters.expansion.Expander` does.
    """
    device, size = root_logits.device, plan.shape.size
    token = torch.zeros(size, dtype=torch.int64, device=device)
    valid = torch.zeros(size, dtype=torch.bool, device=device)
    logprob = torch.full((size,), -torch.inf, dtype=torch.float64, device=device)
    nats = torch.zeros(size, dtype=torch.float64, device=device)
    rows = None if generator is None else torch.full((size + 1, vocab_size), torch.nan, device=device)
    logits = root_logits
    for level in plan.levels:
        q = distribution(logits)
        if generator is not None and rows is not None:
            rows[:, : q.shape[1]].index_copy_(0, level.places, q)
            rows[:, q.shape[1] :].index_fill_(0, level.places, 0.0)
            chosen = (
                (q / torch.empty_like(q).exponential_(generator=generator)).topk(level.width, dim=-1).indices
            )
        else:
            chosen = q.topk(level.width, dim=-1).indices
        picked = q.gather(1, chosen)
        entropy = torch.special.entr(q).sum(-1).double()
        token.index_copy_(0, level.nodes, chosen[level.row, level.rank])
        likely = picked[level.row, level.rank].double()
        logprob.index_copy_(0, level.nodes, likely.log().clamp(max=0.0))
        nats.index_copy_(0, level.nodes, entropy.index_select(0, level.row))
        fine = likely > 0.0
        if level.parents is not None:
            fine = fine & valid.index_select(0, level.parents)
        valid.index_copy_(0, level.nodes, fine)
        if level.below:
            logits = score(token.index_select(0, level.feed), level.depth, level.mask)
    draw: Draw = "deterministic" if generator is None else "without_replacement"
    return DeviceTree(plan, token, valid, logprob, nats, rows, draw, plan.fed)
