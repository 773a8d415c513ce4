"""A faster layer for EAGLE-3 heads that decode in float32 on a CPU, as `decoding.target.lean` is for targets."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention, silu

from spectui.decoding.eagle.head import EagleHead, HeadLayer
from spectui.decoding.target.cache import TreeLayer
from spectui.decoding.target.lean import NormedLinear, rotate
from spectui.decoding.target.norms import FusedRMSNorm, unit_rms
from spectui.decoding.target.packed import can_pack, pack_linears, packed

_POSITIONS = 1024
"""Rows that are added to the table of angles at a time."""


class LeanHeadLayer(nn.Module):
    """A `HeadLayer` with packed weights, for `EagleHead.forward`."""

    def __init__(self, head: EagleHead, layer: HeadLayer) -> None:
        super().__init__()
        config = head.config
        self.heads, self.kv_heads = config.num_attention_heads, config.num_key_value_heads
        self.eps = config.rms_norm_eps
        self.residual_norm = layer.hidden_norm.weight.detach() if config.norm_before_residual else None
        both = torch.cat([layer.input_layernorm.weight, layer.hidden_norm.weight]).detach()
        self.qkv = NormedLinear(both, layer.q_proj, layer.k_proj, layer.v_proj)
        self.out = packed(layer.o_proj)
        after = layer.post_attention_layernorm.weight.detach()
        self.gate_up = NormedLinear(after, layer.gate_proj, layer.up_proj)
        self.down = packed(layer.down_proj)
        self._angles_of = head.angles
        self._cos, self._sin = torch.empty(0, config.head_dim), torch.empty(0, config.head_dim)

    def forward(
        self,
        embeds: torch.Tensor,
        hidden: torch.Tensor,
        positions: torch.Tensor,
        cache: TreeLayer,
        mask: torch.Tensor | None,
    ) -> torch.Tensor:
        """``[n, H]`` from tokens' embeddings and features, both ``[n, H]``."""
        rows = len(embeds)
        normed = unit_rms(hidden, self.eps)
        x = self.qkv(torch.cat([unit_rms(embeds, self.eps), normed], dim=-1))
        x = x.view(1, rows, self.heads + 2 * self.kv_heads, -1)
        rotated = rotate(x[:, :, : self.heads + self.kv_heads], *self._table(positions))
        query = rotated[:, :, : self.heads].transpose(1, 2)
        key, value = cache.update(
            rotated[:, :, self.heads :].transpose(1, 2), x[:, :, -self.kv_heads :].transpose(1, 2)
        )
        groups = self.heads // self.kv_heads
        folded = query.reshape(1, self.kv_heads, groups * rows, -1)
        if mask is not None:
            mask = mask.repeat(groups, 1)
        mixed = scaled_dot_product_attention(folded, key, value, attn_mask=mask).view(1, self.heads, rows, -1)
        residual = hidden if self.residual_norm is None else normed * self.residual_norm
        h = self.out.plus(mixed[0].transpose(0, 1).reshape(rows, -1), residual)
        gate, up = self.gate_up(unit_rms(h, self.eps)).chunk(2, -1)
        return self.down.plus(silu(gate) * up, h)

    def _table(self, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosine and signed sine ``[1, n, 1, d]`` of `positions` ``[n]``, looked up."""
        last = int(positions.max())
        if last >= len(self._cos):
            cos, sin = self._angles_of(torch.arange(last + _POSITIONS))
            self._cos, self._sin = torch.cat([cos, cos], -1)[0], torch.cat([-sin, sin], -1)[0]
        return self._cos[positions][None, :, None], self._sin[positions][None, :, None]


def use_lean_head(head: EagleHead) -> None:
    """Give a float32 head on the CPU a `LeanHeadLayer` and pack its weights; other heads stay as they are."""
    if isinstance(head.layer, LeanHeadLayer) or not can_pack():
        return
    if head.dtype == torch.float32 and head.draft_ids.device.type == "cpu":
        head.layer = LeanHeadLayer(head, head.layer)
        head.norm = FusedRMSNorm(head.norm.weight, head.config.rms_norm_eps)  # type: ignore[assignment]
    pack_linears(head)
