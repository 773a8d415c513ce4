"""Llama's decoder layer with a third of the operator calls: on a CPU in float32, on a GPU in any type.

A forward of a few rows spends as much on calls, or on launching kernels, as on arithmetic: here queries, keys and
values are one product, gate and up another, rotation is three operators, and residuals are added by the products. The
result is the same up to the order of summation. Measured on CPUs by `tests/bench/verify_curve.py`; its operations are
counted by `tests/bench/operations.py`.
"""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention, silu

from spectui.decoding.target.attention import GROUPED, grouped_sdpa
from spectui.decoding.target.norms import SAME_AS_TORCH
from spectui.decoding.target.parts import MergedParts, PackedParts, Parts

FAMILIES = ("Llama", "Mistral", "Qwen2", "Qwen3")
"""Families whose layers compute what `LeanLayer` does; windows are masks to them."""

_SILU = {"SiLU", "SiLUActivation"}

log = logging.getLogger("spectui.device")


class LeanLayer(nn.Module):
    """Stands in for a decoder layer of `FAMILIES`, whose weights it takes over."""

    is_causal = True

    def __init__(self, layer: Any, index: int, parts: Parts) -> None:
        super().__init__()
        attention, mlp = layer.self_attn, layer.mlp
        self.index = index
        self.head_dim = int(attention.head_dim)
        self.heads = int(attention.config.num_attention_heads)
        self.kv_heads = int(attention.config.num_key_value_heads)
        self.num_key_value_groups = self.heads // self.kv_heads
        self.scaling = float(attention.scaling)
        self.qkv = parts.normed(layer.input_layernorm, attention.q_proj, attention.k_proj, attention.v_proj)
        self.out = parts.added(attention.o_proj)
        self.gate_up = parts.normed(layer.post_attention_layernorm, mlp.gate_proj, mlp.up_proj)
        self.down = parts.added(mlp.down_proj)
        self.head_norm: nn.Parameter | None = None
        """Weights of the norm of each query and key head, ``[heads, d]``, in families that have one."""
        if hasattr(attention, "q_norm"):
            weights = [attention.q_norm.weight] * self.heads + [attention.k_norm.weight] * self.kv_heads
            self.head_norm = nn.Parameter(torch.stack(weights).detach(), requires_grad=False)
            self.head_eps, self._unit_rms = float(attention.q_norm.variance_epsilon), parts.unit_rms

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
        x = self.qkv(hidden_states).view(batch, rows, self.heads + 2 * self.kv_heads, self.head_dim)
        turned = x
        if self.head_norm is not None:  # of all heads, as a part of them would be copied first
            turned = self._unit_rms(x, self.head_eps)
        turned = turned[:, :, : self.heads + self.kv_heads]
        if self.head_norm is not None:
            turned.mul_(self.head_norm)
        rotated = rotate(turned, *position_embeddings)
        query = rotated[:, :, : self.heads].transpose(1, 2)
        key, value = rotated[:, :, self.heads :].transpose(1, 2), x[:, :, -self.kv_heads :].transpose(1, 2)
        if past_key_values is not None:
            key, value = past_key_values.update(key, value, self.index)
        mixed = self._attend(query, key, value, attention_mask)
        hidden_states = self.out.plus(mixed.reshape(batch, rows, -1), hidden_states)
        gate, up = self.gate_up.halves(hidden_states)
        return self.down.plus(silu(gate) * up, hidden_states)  # type: ignore[no-any-return]

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


def use_lean_layers(model: Any, parts: Parts | None = None) -> int:
    """Replace the layers of a Llama-like model by `LeanLayer`; returns how many.

    `parts` are those of the model's device unless they are given. Other models, those with half of their weights
    elsewhere, and builds of PyTorch that cannot pack are left as they are. The weights that were taken over are
    released.
    """
    decoder = model.get_decoder()
    chosen: Parts = parts or (PackedParts() if model.device.type == "cpu" else MergedParts())
    if isinstance(getattr(decoder, "rotary_emb", None), LeanRotary):
        return 0
    if (reason := _obstacle(model, decoder, chosen)) is not None:
        if model.device.type != "cpu":
            log.info(
                "the layers of a '%s' run as transformers wrote them: %s", model.config.model_type, reason
            )
        return 0

    def replace(index: int) -> None:
        decoder.layers[index] = LeanLayer(decoder.layers[index], index, chosen)

    with ThreadPoolExecutor(min(torch.get_num_threads(), chosen.at_once)) as pool:
        list(pool.map(replace, range(len(decoder.layers))))
    decoder.rotary_emb = LeanRotary(decoder.rotary_emb)
    if model.device.type == "cuda":
        torch.cuda.empty_cache()  # pieces of the weights that were merged, too small for what comes
    return len(decoder.layers)


def _obstacle(model: Any, decoder: Any, parts: Parts) -> str | None:
    """The reason for leaving a model's layers as they are; None where `LeanLayer` computes the same."""
    if type(decoder).__name__ not in {f"{family}Model" for family in FAMILIES}:
        return f"lean ones are made for {', '.join(FAMILIES)}"
    if model.config.get_text_config()._attn_implementation != GROUPED:
        return "the attention is not sdpa"
    if not all(map(_computes_alike, decoder.layers)):
        return "something else is in them"
    return (
        None if all(map(parts.fits, decoder.layers)) else "their weights are not in one place, or of one kind"
    )


def _computes_alike(layer: Any) -> bool:
    """True when `LeanLayer` computes the same as `layer`, whatever its linear layers are."""
    if type(layer).__name__ not in {f"{family}DecoderLayer" for family in FAMILIES}:
        return False
    norms = [layer.input_layernorm, layer.post_attention_layernorm]
    if hasattr(layer.self_attn, "q_norm"):
        norms += [layer.self_attn.q_norm, layer.self_attn.k_norm]
    return type(layer.mlp.act_fn).__name__ in _SILU and all(type(n).__name__ in SAME_AS_TORCH for n in norms)
