"""A faster form of `DraftLayer` for decoding in float32 on a CPU, as `decoding.target.lean` is for targets."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import silu

from spectui.decoding.heads.layers import DraftLayer, Rotary, attend
from spectui.decoding.target.cache import TreeCache
from spectui.decoding.target.lean import rotate
from spectui.decoding.target.norms import unit_rms
from spectui.decoding.target.packed import packed
from spectui.decoding.target.parts import NormedLinear

_POSITIONS = 1024
"""Rows that are added to the table of angles at a time."""


class AngleTable:
    """Cosines and signed sines of positions, looked up."""

    def __init__(self, rotary: Rotary, width: int) -> None:
        self._rotary = rotary
        self._cos, self._sin = torch.empty(0, width), torch.empty(0, width)

    def __call__(self, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosine and signed sine ``[1, n, 1, d]`` of `positions` ``[n]``."""
        last = int(positions.max())
        if last >= len(self._cos):
            cos, sin = self._rotary.angles(torch.arange(last + _POSITIONS), torch.float32)
            self._cos, self._sin = torch.cat([cos, cos], -1)[0], torch.cat([-sin, sin], -1)[0]
        return self._cos[positions][None, :, None], self._sin[positions][None, :, None]


class LeanDraftLayer(nn.Module):
    """A `DraftLayer` with packed weights; `normed_residual` is that of EAGLE-3's first layer."""

    def __init__(self, layer: DraftLayer, index: int, *, normed_residual: bool = False) -> None:
        super().__init__()
        self.index, self.heads, self.kv_heads = index, layer.heads, layer.kv_heads
        self.eps = float(layer.post_attention_layernorm.eps or 0.0)
        self.normed = not isinstance(layer.input_layernorm, nn.Identity)
        self.fused = layer.hidden_norm is not None
        width = layer.q_proj.in_features
        first = layer.input_layernorm.weight.detach() if self.normed else torch.ones(width)
        feature = None if layer.hidden_norm is None else layer.hidden_norm.weight.detach()
        self.residual_norm = feature if normed_residual else None
        norm = first if feature is None else torch.cat([first, feature])
        self.qkv = NormedLinear(norm, layer.q_proj, layer.k_proj, layer.v_proj)
        self.head_norm = None
        if layer.q_norm is not None and layer.k_norm is not None:
            rows = [layer.q_norm.weight.detach()] * self.heads + [
                layer.k_norm.weight.detach()
            ] * self.kv_heads
            self.head_norm = torch.stack(rows)
        self.out = packed(layer.o_proj)
        self.gate_up = NormedLinear(
            layer.post_attention_layernorm.weight.detach(), layer.gate_proj, layer.up_proj
        )
        self.down = packed(layer.down_proj)

    def forward(
        self,
        embeds: torch.Tensor,
        hidden: torch.Tensor,
        angles: tuple[torch.Tensor, torch.Tensor],
        cache: TreeCache,
        mask: torch.Tensor | None,
    ) -> torch.Tensor:
        """``[n, H]`` from the layer's input `hidden` ``[n, H]``, and the tokens' embeddings where it is fused."""
        rows = len(hidden)
        normed = unit_rms(hidden, self.eps) if self.normed else hidden
        x = torch.cat([unit_rms(embeds, self.eps), normed], dim=-1) if self.fused else normed
        x = self.qkv(x).view(1, rows, self.heads + 2 * self.kv_heads, -1)
        turned = x[:, :, : self.heads + self.kv_heads]
        if self.head_norm is not None:
            turned = unit_rms(turned, self.eps) * self.head_norm
        turned = rotate(turned, *angles)
        key, value = cache.update(
            turned[:, :, self.heads :].transpose(1, 2), x[:, :, -self.kv_heads :].transpose(1, 2), self.index
        )
        mixed = attend(turned[:, :, : self.heads].transpose(1, 2), key, value, mask)
        residual = hidden if self.residual_norm is None else normed * self.residual_norm
        h = self.out.plus(mixed[0].transpose(0, 1).reshape(rows, -1), residual)
        gate, up = self.gate_up(unit_rms(h, self.eps)).chunk(2, -1)
        return self.down.plus(silu(gate) * up, h)
