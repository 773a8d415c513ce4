"""The EAGLE-3 draft head (arXiv 2503.01840): one decoder layer over three of the target's hidden states.

A *pair* is a token and the feature of the position before it: from (t_{j+1}, f_j) the head predicts
t_{j+2}. f_j is `EagleHead.fuse` of the target's hidden states at position j; beyond the text that the target has
read it is the head's own hidden state of the pair before (`EagleHead.carry`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention, silu
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from spectui.decoding.errors import DecodingError
from spectui.decoding.target.cache import TreeLayer

FEATURES = 3
"""Hidden states of the target that are concatenated into one feature."""

ROPE_TYPES = ("default", "linear", "llama3", "yarn")
"""Rotary scalings whose frequencies do not depend on how long the sequence has become."""


@dataclass(frozen=True)
class HeadConfig:
    """The sizes and variants of a head; the defaults are those of the published EAGLE-3 heads."""

    hidden_size: int
    intermediate_size: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    vocab_size: int
    """Tokens of the target, which the head reads."""
    draft_vocab_size: int
    """Tokens that the head predicts; `EagleHead.draft_ids` lists them."""
    target_hidden_size: int
    feature_layers: tuple[int, ...]
    """Target layers whose *inputs* make up a feature, in order: i is transformers' ``hidden_states[i]``."""
    rms_norm_eps: float = 1e-5
    rope_theta: float = 10_000.0
    rope_scaling: dict[str, Any] = field(default_factory=dict)
    """As in a Llama config: ``rope_type`` and its parameters; empty for plain rotary embeddings."""
    max_position_embeddings: int = 2048
    norm_before_residual: bool = False
    """The residual of the attention is the normed feature rather than the feature."""
    norm_before_fc: bool = False
    """The concatenated hidden states are normed before `fc` (heads of gpt-oss)."""
    norm_output: bool = False
    """The hidden state handed on is the normed one that the logits are taken from."""


def default_feature_layers(layers: int) -> tuple[int, ...]:
    """Layers whose inputs EAGLE-3 reads in a target of n layers: 2, n/2 and n - 3."""
    return (2, layers // 2, layers - 3)


class HeadLayer(nn.Module):
    """The parts of the decoder layer; attention reads twice the width, token and feature side by side."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        width, inner, eps = config.hidden_size, config.intermediate_size, config.rms_norm_eps
        queries = config.num_attention_heads * config.head_dim
        keys = config.num_key_value_heads * config.head_dim
        self.input_layernorm = nn.RMSNorm(width, eps)
        self.hidden_norm = nn.RMSNorm(width, eps)
        self.q_proj = nn.Linear(2 * width, queries, bias=False)
        self.k_proj = nn.Linear(2 * width, keys, bias=False)
        self.v_proj = nn.Linear(2 * width, keys, bias=False)
        self.o_proj = nn.Linear(queries, width, bias=False)
        self.post_attention_layernorm = nn.RMSNorm(width, eps)
        self.gate_proj = nn.Linear(width, inner, bias=False)
        self.up_proj = nn.Linear(width, inner, bias=False)
        self.down_proj = nn.Linear(inner, width, bias=False)


class EagleHead(nn.Module):
    """The network, in the steps that training and drafting share; `forward` is all of them, for drafting.

    H is the head's width, Ht the target's, d the head dimension. Everything is computed in the type of
    the head's weights. `embed_tokens` is the target's embedding unless the head brings its own: then it
    is trained, moved and saved with the head, otherwise only read.
    """

    def __init__(self, config: HeadConfig, embed_tokens: nn.Module | None = None) -> None:
        super().__init__()
        self.config = config
        width = config.hidden_size
        self.input_norm = (
            nn.RMSNorm(FEATURES * config.target_hidden_size, config.rms_norm_eps)
            if config.norm_before_fc
            else None
        )
        self.fc = nn.Linear(FEATURES * config.target_hidden_size, width, bias=False)
        self.layer: Any = HeadLayer(config)
        """Replaced for decoding on a CPU, see `decoding.eagle.lean`."""
        self.norm = nn.RMSNorm(width, config.rms_norm_eps)
        self.lm_head = nn.Linear(width, config.draft_vocab_size, bias=False)
        self.draft_ids: torch.Tensor
        """Target token of each draft token, ``[draft_vocab_size]``."""
        self.register_buffer("draft_ids", torch.arange(config.draft_vocab_size))
        self.own_embedding = nn.Embedding(config.vocab_size, width) if embed_tokens is None else None
        # In a list, so that it is no submodule: the target's weights are neither trained nor saved here.
        self._borrowed = [] if embed_tokens is None else [embed_tokens]
        # No buffer: casting the head to half precision must not round the angles.
        self._frequencies, self._rope_scale = _rotary_frequencies(config)

    @property
    def embed_tokens(self) -> nn.Module:
        """The embedding in use: the head's own or the target's."""
        return self._borrowed[0] if self.own_embedding is None else self.own_embedding

    @property
    def dtype(self) -> torch.dtype:
        """The type everything is computed in."""
        return self.norm.weight.dtype

    def embed(self, tokens: torch.Tensor) -> torch.Tensor:
        """Target token ids ``[..., n]`` to ``[..., n, H]``."""
        out: torch.Tensor = self.embed_tokens(tokens).to(self.dtype)
        return out

    def fuse(self, features: torch.Tensor) -> torch.Tensor:
        """Concatenated hidden states of the target ``[..., 3 Ht]`` to the head's width ``[..., H]``."""
        features = features.to(self.dtype)
        if self.input_norm is not None:
            features = self.input_norm(features)
        # Under autocast the product is in half precision; the residual stream that begins here is not.
        out: torch.Tensor = self.fc(features).to(self.dtype)
        return out

    def qkv(
        self, embeds: torch.Tensor, hidden: torch.Tensor, positions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Rotated queries and keys, values, and the residual for `finish`.

        `embeds` and `hidden` are ``[..., n, H]``, `positions` ``[..., n]`` or ``[n]``; queries come as
        ``[..., heads, n, d]``, keys and values as ``[..., key/value heads, n, d]``.
        """
        layer, config = self.layer, self.config
        normed = layer.hidden_norm(hidden)
        x = torch.cat([layer.input_layernorm(embeds), normed], dim=-1)
        cos, sin = self.angles(positions)
        q = _rotate(_heads(layer.q_proj(x), config.num_attention_heads), cos, sin)
        k = _rotate(_heads(layer.k_proj(x), config.num_key_value_heads), cos, sin)
        v = _heads(layer.v_proj(x), config.num_key_value_heads)
        return q, k, v, normed if config.norm_before_residual else hidden

    def finish(self, attention: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        """The layer behind its attention: ``[..., heads, n, d]`` and ``[..., n, H]`` to ``[..., n, H]``."""
        layer = self.layer
        h: torch.Tensor = residual + layer.o_proj(attention.transpose(-3, -2).flatten(-2))
        x = layer.post_attention_layernorm(h)
        return h + layer.down_proj(silu(layer.gate_proj(x)) * layer.up_proj(x))  # type: ignore[no-any-return]

    def logits(self, h: torch.Tensor) -> torch.Tensor:
        """Logits over the draft vocabulary: ``[..., H]`` to ``[..., draft_vocab_size]``."""
        out: torch.Tensor = self.lm_head(self.norm(h))
        return out

    def carry(self, h: torch.Tensor) -> torch.Tensor:
        """The substitute for the target's feature in the next pair: ``[..., H]``."""
        out: torch.Tensor = self.norm(h) if self.config.norm_output else h
        return out

    def forward(
        self,
        tokens: torch.Tensor,
        hidden: torch.Tensor,
        positions: torch.Tensor,
        cache: TreeLayer,
        mask: torch.Tensor | None,
    ) -> torch.Tensor:
        """Hidden states ``[n, H]`` of n pairs, whose keys and values are appended to `cache`.

        `tokens` and `positions` are ``[n]``, `hidden` ``[n, H]`` (fused features or carried states),
        `mask` ``[n, m]`` true where a pair may attend, over all m slots with the n new ones last; None lets
        every pair attend to every slot.
        """
        if not isinstance(self.layer, HeadLayer):
            lean: torch.Tensor = self.layer(self.embed(tokens), hidden, positions, cache, mask)
            return lean
        q, k, v, residual = self.qkv(self.embed(tokens)[None], hidden[None], positions)
        k, v = cache.update(k, v)
        # Query heads that share a key/value head become rows of one head: no copy of the cache
        # (see `decoding.target.attention`).
        groups = q.shape[1] // k.shape[1]
        folded = q.reshape(1, k.shape[1], groups * q.shape[2], q.shape[3])
        if mask is not None:
            mask = mask.repeat(groups, 1)
        attention = scaled_dot_product_attention(folded, k, v, attn_mask=mask).reshape(q.shape)
        return self.finish(attention, residual)[0]

    def angles(self, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosine and sine ``[..., 1, n, d / 2]`` of `positions` ``[..., n]``, to be broadcast over heads."""
        if self._frequencies.device != positions.device:
            self._frequencies = self._frequencies.to(positions.device)
        angles = (positions[..., None].float() * self._frequencies).unsqueeze(-3)
        cos, sin = angles.cos() * self._rope_scale, angles.sin() * self._rope_scale
        return cos.to(self.dtype), sin.to(self.dtype)


def _heads(x: torch.Tensor, count: int) -> torch.Tensor:
    """``[..., n, count * d] -> [..., count, n, d]``."""
    return x.view(*x.shape[:-1], count, -1).transpose(-3, -2)


def _rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Llama's rotary embedding: dimension i turns together with dimension i + d / 2."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)


def _rotary_frequencies(config: HeadConfig) -> tuple[torch.Tensor, float]:
    """transformers' frequencies ``[d / 2]`` and scale for `config`; raises `DecodingError` on unknown ones."""
    rope = dict(config.rope_scaling)
    kind = rope.pop("type", None)
    rope = {"rope_theta": config.rope_theta, "rope_type": kind or "default", **rope}
    if rope["rope_type"] not in ROPE_TYPES:
        raise DecodingError(
            f"the EAGLE-3 head uses '{rope['rope_type']}' rotary embeddings; "
            f"spectui knows {', '.join(ROPE_TYPES)}"
        )
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
            f"the EAGLE-3 head's '{rope['rope_type']}' rotary embeddings are not described in full: {error}"
        ) from error
    # A copy: `inv_freq` is a Buffer, and would become one of the head's by being assigned.
    return rotary.inv_freq.detach().clone(), float(rotary.attention_scaling)


def set_draft_vocabulary(head: EagleHead, tokens: Sequence[int]) -> None:
    """Set the target tokens that the rows of `lm_head` predict.

    Raises `ValueError` unless `tokens` has a token for each row, in ascending order.
    """
    if len(tokens) != head.config.draft_vocab_size or list(tokens) != sorted(set(tokens)):
        raise ValueError(f"give {head.config.draft_vocab_size} different tokens in ascending order")
    if tokens[0] < 0 or tokens[-1] >= head.config.vocab_size:
        raise ValueError(f"a token lies outside of the target's {head.config.vocab_size}")
    head.draft_ids.copy_(torch.tensor(list(tokens)))
