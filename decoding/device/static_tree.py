"""Growth of a static tree on the device: its nodes are known beforehand, their tokens stay on the device."""

from __future__ import annotations

from collections.abc import Callable

import torch

from spectui.decoding.device.tree import DeviceTree, ScoreTensors
from spectui.decoding.device.tree_index import TreeIndex
from spectui.decoding.trees.shape import Draw


def grow_static(
    index: TreeIndex,
    root_logits: torch.Tensor,
    score: ScoreTensors,
    vocab_size: int,
    distribution: Callable[[torch.Tensor], torch.Tensor],
    generator: torch.Generator | None,
    ids: torch.Tensor | None = None,
) -> DeviceTree:
    """The shape of `index` filled level by level from the draft's logits after the root, ``[1, W]``.

    `ids` ``[W]`` are the target's tokens of the draft's, None where they are the same. With a `generator` children are
    drawn without replacement, else the likeliest are taken, as `decoding.drafters.expansion.Expander` does.
    Logits of one row are those of all nodes.
    """
    device, size = root_logits.device, index.size
    token = torch.zeros(size, dtype=torch.int64, device=device)
    valid = torch.zeros(size, dtype=torch.bool, device=device)
    logprob = torch.full((size,), -torch.inf, dtype=torch.float64, device=device)
    nats = torch.zeros(size, dtype=torch.float64, device=device)
    rows = None if generator is None else torch.full((size + 1, vocab_size), torch.nan, device=device)
    logits = root_logits
    for level in index.levels:
        q = distribution(logits)
        q = q.expand(len(level.places), -1)
        if generator is not None and rows is not None:
            if ids is None:
                rows[:, : q.shape[1]].index_copy_(0, level.places, q)
                rows[:, q.shape[1] :].index_fill_(0, level.places, 0.0)
            else:
                rows.index_copy_(0, level.places, q.new_zeros(len(q), vocab_size).index_copy_(1, ids, q))
            chosen = (
                (q / torch.empty_like(q).exponential_(generator=generator)).topk(level.width, dim=-1).indices
            )
        else:
            chosen = q.topk(level.width, dim=-1).indices
        picked = q.gather(1, chosen)
        entropy = torch.special.entr(q).sum(-1).double()
        columns = chosen[level.row, level.rank]
        token.index_copy_(0, level.nodes, columns if ids is None else ids[columns])
        likely = picked[level.row, level.rank].double()
        logprob.index_copy_(0, level.nodes, likely.log().clamp(max=0.0))
        nats.index_copy_(0, level.nodes, entropy.index_select(0, level.row))
        fine = likely > 0.0
        if level.parents is not None:
            fine = fine & valid.index_select(0, level.parents)
        valid.index_copy_(0, level.nodes, fine)
        if level.below:
            logits = score(token.index_select(0, level.feed), level.depth, level.mask, level.above)
    draw: Draw = "deterministic" if generator is None else "without_replacement"
    return DeviceTree(index, token, valid, logprob, nats, rows, draw, fed=True)
