"""Decoder layers of draft heads, in steps that training, growing trees and block forwards share.

H is the head's width, d the head dimension. Everything is computed in the type of the weights.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention, silu
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from spectui.decoding.errors import DecodingError
from spectui.decoding.heads.config import ROPE_TYPES, LayerConfig, rope_type


class DraftLayer(nn.Module):
    """A decoder layer of Llama or Qwen3. With `fused` its attention reads twice the width, a token and a feature side
    by side; without `normed` it reads what it is given as it is."""

    def __init__(self, config: LayerConfig, *, fused: bool = False, normed: bool = True) -> None:
        super().__init__()
        width, inner, eps = config.hidden_size, config.intermediate_size, config.rms_norm_eps
        self.heads, self.kv_heads = config.num_attention_heads, config.num_key_value_heads
        queries, keys = self.heads * config.head_dim, self.kv_heads * config.head_dim
        reads, bias = (2 if fused else 1) * width, config.attention_bias
        self.input_layernorm: Any = nn.RMSNorm(width, eps) if normed else nn.Identity()
        self.hidden_norm = nn.RMSNorm(width, eps) if fused else None
        self.q_proj = nn.Linear(reads, queries, bias=bias)
        self.k_proj = nn.Linear(reads, keys, bias=bias)
        self.v_proj = nn.Linear(reads, keys, bias=bias)
        self.o_proj = nn.Linear(queries, width, bias=bias)
        self.q_norm = nn.RMSNorm(config.head_dim, eps) if config.qk_norm else None
        self.k_norm = nn.RMSNorm(config.head_dim, eps) if config.qk_norm else None
        self.post_attention_layernorm = nn.RMSNorm(width, eps)
        self.gate_proj = nn.Linear(width, inner, bias=config.mlp_bias)
        self.up_proj = nn.Linear(width, inner, bias=config.mlp_bias)
        self.down_proj = nn.Linear(inner, width, bias=config.mlp_bias)

    def queries(self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        """Rotated queries ``[..., heads, n, d]`` of ``x [..., n, reads]``."""
        q = _heads(self.q_proj(x), self.heads)
        return _rotate(q if self.q_norm is None else self.q_norm(q), cos, sin)

    def keys_values(
        self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Rotated keys, and values, ``[..., key/value heads, n, d]``, of ``x [..., n, reads]``."""
        k = _heads(self.k_proj(x), self.kv_heads)
        k = _rotate(k if self.k_norm is None else self.k_norm(k), cos, sin)
        return k, _heads(self.v_proj(x), self.kv_heads)

    def finish(self, attention: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        """The layer behind its attention: ``[..., heads, n, d]`` and ``[..., n, H]`` to ``[..., n, H]``."""
        h: torch.Tensor = residual + self.o_proj(attention.transpose(-3, -2).flatten(-2))
        x = self.post_attention_layernorm(h)
        return h + self.down_proj(silu(self.gate_proj(x)) * self.up_proj(x))  # type: ignore[no-any-return]


class Rotary:
    """Angles of positions. No module: casting a head to half precision must not round them."""

    def __init__(self, config: LayerConfig) -> None:
        self._frequencies, self._scale = _rotary_frequencies(config)

    def angles(self, positions: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosine and sine ``[..., 1, n, d / 2]`` of `positions` ``[..., n]``, to be broadcast over heads."""
        if self._frequencies.device != positions.device:
            self._frequencies = self._frequencies.to(positions.device)
        angles = (positions[..., None].float() * self._frequencies).unsqueeze(-3)
        cos, sin = angles.cos() * self._scale, angles.sin() * self._scale
        return cos.to(dtype), sin.to(dtype)


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Attention of ``q [1, heads, n, d]`` over ``k, v [1, key/value heads, m, d]``; `mask` ``[n, m]``, None for all.

    Query heads that share a key/value head become rows of one head: no copy of the cache (see
    `decoding.target.attention`).
    """
    groups = q.shape[1] // k.shape[1]
    folded = q.reshape(1, k.shape[1], groups * q.shape[2], q.shape[3])
    if mask is not None:
        mask = mask.repeat(groups, 1)
    return scaled_dot_product_attention(folded, k, v, attn_mask=mask).reshape(q.shape)


def _heads(x: torch.Tensor, count: int) -> torch.Tensor:
    """``[..., n, count * d] -> [..., count, n, d]``."""
    return x.view(*x.shape[:-1], count, -1).transpose(-3, -2)


def _rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Llama's rotary embedding: dimension i turns together with dimension i + d / 2."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)


def _rotary_frequencies(config: LayerConfig) -> tuple[torch.Tensor, float]:
    """transformers' frequencies ``[d / 2]`` and scale for `config`; raises `DecodingError` on unknown ones."""
    kind = rope_type(config.rope_scaling)
    rope = {"rope_theta": config.rope_theta, "rope_type": kind}
    if kind != ROPE_TYPES[0]:
        rope |= {key: value for key, value in config.rope_scaling.items() if key not in ("type", "rope_type")}
    try:
        # Loading makes the module without memory for its weights; these numbers are no weights.
        with torch.device("cpu"):
            rotary = LlamaRotaryEmbedding(
                LlamaConfig(
                    hidden_size=config.num_attention_heads * config.head_dim,
                    num_attention_heads=config.num_attention_heads,
                    head_dim=config.head_dim,
                    max_position_embeddings=config.max_position_embeddings,
                    rope_parameters=rope,
                )
            )
    except (KeyError, TypeError, ValueError) as error:
        raise DecodingError(
            f"the draft head's '{rope['rope_type']}' rotary embeddings are not described in full: {error}"
        ) from error
    # A copy: `inv_freq` is a Buffer, and would become one of the head's by being assigned.
    return rotary.inv_freq.detach().clone(), float(rotary.attention_scaling)
