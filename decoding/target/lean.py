"""Llama's decoder layer with a third of the operator calls, for CPU decoding in float32.

A forward of a few rows spends as much on calls as on arithmetic: here queries, keys and values are one product,
gate and up another, and rotation is three operators. The result is the same up to the order of summation.
Measured by `tests/bench/verify_curve.py`.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention, silu

from spectui.decoding.target.attention import GROUPED, grouped_sdpa
from spectui.decoding.target.norms import unit_rms
from spectui.decoding.target.packed import HalfLinear, PackedLinear, as_halves, can_pack, packed

PACKED_AT_ONCE = 2
"""Layers: each is in memory twice meanwhile, and the other steps of tuning use all threads."""

_SILU = {"SiLU", "SiLUActivation"}


class NormedLinear(nn.Module):
    """Linear layers side by side behind an RMS norm, whose weight is multiplied into theirs unless they are halves."""

    def __init__(self, norm: torch.Tensor, *parts: nn.Linear) -> None:
        super().__init__()
        whole = _side_by_side(*parts)
        product: PackedLinear | HalfLinear | None = as_halves(whole)
        self.scale = None if product is None else norm.detach()
        if product is None:
            whole.weight.data *= norm.detach()
            product = PackedLinear(whole)
        self.product = product

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``[..., H]``, to be overwritten, to ``[..., outputs of all parts]``."""
        return self.product(x if self.scale is None else x.mul_(self.scale))  # type: ignore[no-any-return]


class LeanLayer(nn.Module):
    """Stands in for a `LlamaDecoderLayer`, whose weights it takes over, packed."""

    is_causal = True

    def __init__(self, layer: Any, index: int) -> None:
        super().__init__()
        attention, mlp = layer.self_attn, layer.mlp
        self.index = index
        self.head_dim = int(attention.head_dim)
        self.heads = attention.q_proj.out_features // self.head_dim
        self.kv_heads = attention.k_proj.out_features // self.head_dim
        self.num_key_value_groups = self.heads // self.kv_heads
        self.scaling = float(attention.scaling)
        first, second = layer.input_layernorm.weight, layer.post_attention_layernorm.weight
        self.eps = float(layer.input_layernorm.variance_epsilon)
        self.qkv = NormedLinear(first, attention.q_proj, attention.k_proj, attention.v_proj)
        self.out = packed(attention.o_proj)
        self.gate_up = NormedLinear(second, mlp.gate_proj, mlp.up_proj)
        self.down = packed(mlp.down_proj)

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        past_key_values: Any | None = None,
        position_embeddings: tuple[torch.Tensor, torch.Tensor] | None = None,
        **__: Any,
    ) -> torch.Tensor:
        """``[1, n, H] -> [1, n, H]``; `position_embeddings` are those of `LeanRotary`."""
        assert position_embeddings is not None
        batch, rows, _ = hidden_states.shape
        x = self.qkv(unit_rms(hidden_states, self.eps))
        x = x.view(batch, rows, self.heads + 2 * self.kv_heads, self.head_dim)
        rotated = rotate(x[:, :, : self.heads + self.kv_heads], *position_embeddings)
        query = rotated[:, :, : self.heads].transpose(1, 2)
        key, value = rotated[:, :, self.heads :].transpose(1, 2), x[:, :, -self.kv_heads :].transpose(1, 2)
        if past_key_values is not None:
            key, value = past_key_values.update(key, value, self.index)
        mixed = self._attend(query, key, value, attention_mask)
        hidden_states = self.out.plus(mixed.reshape(batch, rows, -1), hidden_states)
        gate, up = self.gate_up(unit_rms(hidden_states, self.eps)).chunk(2, -1)
        return self.down.plus(silu(gate) * up, hidden_states)

    def _attend(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None
    ) -> torch.Tensor:
        """``[1, heads, n, d]`` over ``[1, key/value heads, m, d]`` to ``[1, n, heads, d]``."""
        if mask is None and query.shape[2] == 1:
            # One row sees everything: the heads of a group are the rows of one head.
            folded = query.reshape(query.shape[0], self.kv_heads, self.num_key_value_groups, self.head_dim)
            out = scaled_dot_product_attention(folded, key, value, scale=self.scaling)
            return out.reshape(query.shape[0], 1, self.heads, self.head_dim)
        return grouped_sdpa(self, query, key, value, mask, scaling=self.scaling)[0]


class LeanRotary(nn.Module):
    """A model's rotary embedding with tables for `rotate`, made once a forward instead of once a layer."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor, position_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosine and signed sine ``[1, n, 1, d]``."""
        cos, sin = self.inner(x, position_ids=position_ids)
        first, second = sin.chunk(2, -1)
        return cos.unsqueeze(2), torch.cat([-first, second], -1).unsqueeze(2)


def rotate(x: torch.Tensor, cos: torch.Tensor, signed_sin: torch.Tensor) -> torch.Tensor:
    """Llama's rotary embedding of ``x [1, n, heads, d]``: dimension i turns together with i + d / 2."""
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, -1), signed_sin)


def use_lean_layers(model: Any) -> int:
    """Replace the layers of a float32 Llama on the CPU by `LeanLayer`; returns how many.

    Other models, those with half of their weights elsewhere, and builds of PyTorch that cannot pack are left
    as they are. The unpacked weights are released.
    """
    decoder = model.get_decoder()
    if not can_pack() or type(decoder).__name__ != "LlamaModel":
        return 0
    if model.config.get_text_config()._attn_implementation != GROUPED or not all(map(_fits, decoder.layers)):
        return 0

    def replace(index: int) -> None:
        decoder.layers[index] = LeanLayer(decoder.layers[index], index)

    # Packing a layer runs on one thread, and is most of the time of tuning a model.
    with ThreadPoolExecutor(min(torch.get_num_threads(), PACKED_AT_ONCE)) as pool:
        list(pool.map(replace, range(len(decoder.layers))))
    decoder.rotary_emb = LeanRotary(decoder.rotary_emb)
    return len(decoder.layers)


def _side_by_side(*parts: nn.Linear) -> nn.Linear:
    """One linear layer whose outputs are those of `parts`, one behind the other."""
    whole = nn.Linear(parts[0].in_features, sum(p.out_features for p in parts), bias=False, device="meta")
    whole.weight = nn.Parameter(torch.cat([p.weight.detach() for p in parts]), requires_grad=False)
    if any(p.bias is not None for p in parts):
        biases = [p.weight.new_zeros(p.out_features) if p.bias is None else p.bias.detach() for p in parts]
        whole.bias = nn.Parameter(torch.cat(biases), requires_grad=False)
    return whole


def _fits(layer: Any) -> bool:
    """True when `LeanLayer` computes the same as `layer`."""
    if type(layer).__name__ != "LlamaDecoderLayer" or type(layer.mlp.act_fn).__name__ not in _SILU:
        return False
    linears = [m for m in layer.modules() if isinstance(m, nn.Linear)]
    return len(linears) == 7 and all(
        type(m) is nn.Linear and m.weight.device.type == "cpu" and m.weight.dtype == torch.float32
        for m in linears
    )
