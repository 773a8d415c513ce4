"""A head run over whole sequences: its drafts from every position.

Pass 0 reads the target's features. Pass k stands for the node k levels below, and sees pass 0 up to its own row and
the passes of its own row since. It reads the state of pass k - 1 and the true token (training-time test of EAGLE-3,
arXiv 2503.01840, section 3.2), or in a P-EAGLE head (arXiv 2602.01469) nothing but a masked pair.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from spectui.decoding.distill.shards import Sequence
from spectui.decoding.eagle.head import EagleHead


@dataclass(frozen=True)
class Batch:
    """Padded sequences. Row i stands for the pair (token i + 1, feature i) and, in pass k, predicts token i + 2 + k.

    `tokens` and `best` are ``[B, T]``, `features` ``[B, T, F H]``, `final` ``[B, T, H]``; `length` and
    `answer_from` ``[B]``.
    """

    tokens: torch.Tensor
    best: torch.Tensor
    features: torch.Tensor
    final: torch.Tensor
    length: torch.Tensor
    answer_from: torch.Tensor

    @classmethod
    def of(cls, sequences: list[Sequence], device: torch.device) -> Batch:
        """Pad on the right with zeros."""
        longest = max(len(s.tokens) for s in sequences)

        def padded(arrays: list[torch.Tensor]) -> torch.Tensor:
            out = arrays[0].new_zeros(len(arrays), longest, *arrays[0].shape[1:])
            for row, array in enumerate(arrays):
                out[row, : len(array)] = array
            return out.to(device)

        return cls(
            padded([torch.from_numpy(s.tokens) for s in sequences]),
            padded([torch.from_numpy(s.best) for s in sequences]),
            padded([s.features.flatten(1) for s in sequences]),
            padded([s.final for s in sequences]),
            torch.tensor([len(s.tokens) for s in sequences], device=device),
            torch.tensor([s.answer_from for s in sequences], device=device),
        )

    def predicted(self, depth: int) -> torch.Tensor:
        """Rows ``[B, T - 1]`` that draft from within the response and whose pass `depth` predicts a token of it."""
        at = torch.arange(self.tokens.shape[1] - 1, device=self.tokens.device)[None] + 2
        return (at >= self.answer_from[:, None]) & (at + depth < self.length[:, None])


@dataclass(frozen=True)
class Pass:
    """One pass: hidden states ``[B, m, H]`` of the rows `rows` ``[B, m]``, and which of them count."""

    depth: int
    hidden: torch.Tensor
    rows: torch.Tensor
    counts: torch.Tensor

    def of(self, values: torch.Tensor) -> torch.Tensor:
        """Entries of a per-token tensor ``[B, T, ...]`` at the position *before* the predicted token,
        for the rows that count: ``[n, ...]``.
        """
        at = self.rows + 1 + self.depth
        batch = torch.arange(len(at), device=at.device)[:, None].expand_as(at)
        return values[batch[self.counts], at[self.counts]]


def unroll(
    head: EagleHead, batch: Batch, passes: int, share: float, generator: torch.Generator | None
) -> Iterator[Pass]:
    """Pass 0 on all rows, then up to `passes` - 1 more on a random `share` of the rows that count."""
    rows = batch.tokens.shape[1] - 1
    device = batch.tokens.device
    row = torch.arange(rows, device=device)
    visible = (row[:, None] >= row[None])[None, None]
    memories = [_Memory() for _ in head.layers]

    def attention(layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return memories[layer].attend(q, _spread(k, q), _spread(v, q), visible)

    state = head.through(batch.tokens[:, 1:], head.fuse(batch.features[:, :-1]), row, attention)
    every = row[None].expand(len(batch.tokens), -1)
    yield Pass(0, state, every, batch.predicted(0))
    if passes == 1:
        return

    # A row goes on as long as what it predicts is there; the same rows for all further passes.
    able = batch.predicted(1)
    count = max(1, int(share * int(able.sum(1).max())))
    order = torch.rand(able.shape, generator=generator, device=device).masked_fill(~able, -1.0)
    picked = order.topk(min(count, rows), dim=1).indices
    state = state.gather(1, picked[..., None].expand(-1, -1, state.shape[-1]))
    visible = (picked[..., None] >= row)[:, None]
    mask_token, mask_hidden = head.config.mask_token, head.mask_hidden
    for depth in range(1, passes):
        if mask_token is None or mask_hidden is None:
            tokens, hidden = batch.tokens.gather(1, (picked + 1 + depth).clamp_max(rows)), head.carry(state)
        else:
            tokens = torch.full_like(picked, mask_token)
            hidden = head.fuse(mask_hidden).expand(*picked.shape, -1)
        state = head.through(tokens, hidden, picked + depth, attention)
        yield Pass(depth, state, picked, (able & batch.predicted(depth)).gather(1, picked))


def _spread(x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Repeat key/value heads for their groups of queries."""
    return x.repeat_interleave(like.shape[1] // x.shape[1], dim=1)


class _Memory:
    """Keys and values of one layer, ``[B, heads, n, d]``: of pass 0, and of each later pass for its own rows."""

    def __init__(self) -> None:
        self._keys: list[torch.Tensor] = []
        self._values: list[torch.Tensor] = []

    def attend(
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, visible: torch.Tensor
    ) -> torch.Tensor:
        """Attention of the next pass, over pass 0 where `visible` and over each row's own later passes."""
        self._keys.append(k)
        self._values.append(v)
        (k0, *keys), (v0, *values) = self._keys, self._values
        scale = q.shape[-1] ** -0.5
        scores = (q @ k0.transpose(-1, -2)).float() * scale
        scores = scores.masked_fill(~visible, -torch.inf)
        later = [(q * key).sum(-1, keepdim=True).float() * scale for key in keys]
        weights = torch.cat([scores, *later], dim=-1).softmax(-1).to(v0.dtype)
        out = weights[..., : k0.shape[-2]] @ v0
        for column, value in enumerate(values, k0.shape[-2]):
            out = out + weights[..., column : column + 1] * value
        return out
