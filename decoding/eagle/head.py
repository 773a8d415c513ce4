"""The EAGLE-3 draft head (arXiv 2503.01840): decoder layers over hidden states of the target.

A *pair* is a token and the feature of the position before it: from (t_{j+1}, f_j) the head predicts
t_{j+2}. f_j is `EagleHead.fuse` of the target's hidden states at position j; beyond the text that the target has
read it is the head's own hidden state of the pair before (`EagleHead.carry`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from spectui.decoding.heads.config import LayerConfig
from spectui.decoding.heads.layers import DraftLayer, Rotary, attend
from spectui.decoding.target.cache import TreeCache


@dataclass(frozen=True, kw_only=True)
class HeadConfig(LayerConfig):
    """The sizes and variants of a head; the defaults are those of the published EAGLE-3 heads."""

    vocab_size: int
    """Tokens of the target, which the head reads."""
    draft_vocab_size: int
    """Tokens that the head predicts; `EagleHead.draft_ids` lists them."""
    target_hidden_size: int
    feature_layers: tuple[int, ...]
    """Target layers whose *inputs* make up a feature, in order: i is transformers' ``hidden_states[i]``."""
    norm_before_residual: bool = False
    """The residual of the first layer's attention is the normed feature rather than the feature."""
    norm_before_fc: bool = False
    """The concatenated hidden states are normed before `fc` (heads of gpt-oss)."""
    fc_norm: bool = False
    """Each hidden state has a norm of its own before they are concatenated (EAGLE-3.1)."""
    norm_output: bool = False
    """The hidden state handed on is the normed one that the logits are taken from."""
    mask_token: int | None = None
    """Token of the pairs behind the root's in a P-EAGLE head, which drafts all depths at once; None in others."""

    @property
    def fused_width(self) -> int:
        """Numbers of the concatenated hidden states."""
        return len(self.feature_layers) * self.target_hidden_size


Attention = Callable[[int, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""Attention of a layer, by its number, with queries, keys and values as `EagleHead.qkv` has them."""


def default_feature_layers(layers: int) -> tuple[int, ...]:
    """Layers whose inputs EAGLE-3 reads in a target of n layers: 2, n/2 and n - 3."""
    return (2, layers // 2, layers - 3)


class EagleHead(nn.Module):
    """The network, in the steps that training and drafting share; `forward` is all of them, for drafting.

    H is the head's width, Ht the target's, d the head dimension. Everything is computed in the type of
    the head's weights. `embed_tokens` is the target's embedding unless the head brings its own: then it
    is trained, moved and saved with the head, otherwise only read. `output` finds the target's LM head
    for a head without one.
    """

    def __init__(
        self,
        config: HeadConfig,
        embed_tokens: nn.Module | None = None,
        output: Callable[[], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        width, eps = config.hidden_size, config.rms_norm_eps
        self.input_norm = nn.RMSNorm(config.fused_width, eps) if config.norm_before_fc else None
        self.fc_norm = (
            nn.ModuleList(nn.RMSNorm(config.target_hidden_size, eps) for _ in config.feature_layers)
            if config.fc_norm
            else None
        )
        self.fc = nn.Linear(config.fused_width, width, bias=False)
        self.mask_hidden = (
            None if config.mask_token is None else nn.Parameter(torch.zeros(1, 1, config.fused_width))
        )
        """Hidden states of the target in pairs of the mask token."""
        self.layers: Any = nn.ModuleList(
            DraftLayer(config, fused=i == 0) for i in range(config.num_hidden_layers)
        )
        """Replaced for decoding on a CPU, see `decoding.eagle.lean`."""
        self.norm = nn.RMSNorm(width, eps)
        self.lm_head: Any = nn.Linear(width, config.draft_vocab_size, bias=False) if output is None else None
        self.draft_ids: torch.Tensor
        """Target token of each draft token, ``[draft_vocab_size]``."""
        self.register_buffer("draft_ids", torch.arange(config.draft_vocab_size))
        self.own_embedding = nn.Embedding(config.vocab_size, width) if embed_tokens is None else None
        # In a list, so that it is no submodule: the target's weights are neither trained nor saved here.
        self._borrowed = [] if embed_tokens is None else [embed_tokens]
        self._output = output
        self.rotary = Rotary(config)
        self.table: Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]] | None = None
        """Angles for layers that were replaced, see `decoding.eagle.lean`."""

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
        # The weight alone: a target such as Gemma scales what it reads of it, its head does not.
        weight: Any = self.embed_tokens.weight
        return nn.functional.embedding(tokens, weight).to(self.dtype)

    def fuse(self, features: torch.Tensor) -> torch.Tensor:
        """Concatenated hidden states of the target ``[..., k Ht]`` to the head's width ``[..., H]``."""
        features = features.to(self.dtype)
        if self.input_norm is not None:
            features = self.input_norm(features)
        if self.fc_norm is not None:
            parts = features.chunk(len(self.fc_norm), -1)
            features = torch.cat([norm(part) for norm, part in zip(self.fc_norm, parts, strict=True)], dim=-1)
        # Under autocast the product is in half precision; the residual stream that begins here is not.
        out: torch.Tensor = self.fc(features).to(self.dtype)
        return out

    def qkv(
        self, embeds: torch.Tensor, hidden: torch.Tensor, positions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Rotated queries and keys, values, and the residual for `finish`, of the first layer.

        `embeds` and `hidden` are ``[..., n, H]``, `positions` ``[..., n]`` or ``[n]``; queries come as
        ``[..., heads, n, d]``, keys and values as ``[..., key/value heads, n, d]``.
        """
        layer = self.layers[0]
        normed = layer.hidden_norm(hidden)
        x = torch.cat([layer.input_layernorm(embeds), normed], dim=-1)
        cos, sin = self.angles(positions)
        residual = normed if self.config.norm_before_residual else hidden
        return layer.queries(x, cos, sin), *layer.keys_values(x, cos, sin), residual

    def finish(self, attention: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        """The first layer behind its attention: ``[..., heads, n, d]`` and ``[..., n, H]`` to ``[..., n, H]``."""
        out: torch.Tensor = self.layers[0].finish(attention, residual)
        return out

    def logits(self, h: torch.Tensor) -> torch.Tensor:
        """Logits over the draft vocabulary: ``[..., H]`` to ``[..., draft_vocab_size]``."""
        normed = self.norm(h)
        if self.lm_head is None:
            assert self._output is not None
            return self._output()(normed)  # type: ignore[no-any-return]
        out: torch.Tensor = self.lm_head(normed)
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
        cache: TreeCache,
        mask: torch.Tensor | None,
    ) -> torch.Tensor:
        """Hidden states ``[n, H]`` of n pairs, whose keys and values are appended to `cache`.

        `tokens` and `positions` are ``[n]``, `hidden` ``[n, H]`` (fused features or carried states),
        `mask` ``[n, m]`` true where a pair may attend, over all m slots with the n new ones last; None lets
        every pair attend to every slot.
        """
        if self.table is not None:
            embeds, angles = self.embed(tokens), self.table(positions)
            for layer in self.layers:
                hidden = layer(embeds, hidden, angles, cache, mask)
            return hidden

        def attention(index: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
            k, v = cache.update(k, v, index)
            return attend(q, k, v, mask)

        return self.through(tokens[None], hidden[None], positions, attention)[0]

    def through(
        self, tokens: torch.Tensor, hidden: torch.Tensor, positions: torch.Tensor, attention: Attention
    ) -> torch.Tensor:
        """Hidden states ``[B, n, H]`` of pairs, whose layers attend by `attention`.

        `tokens` are ``[B, n]``, `hidden` ``[B, n, H]`` (fused features or carried states), `positions` ``[B, n]`` or
        ``[n]``.
        """
        q, k, v, residual = self.qkv(self.embed(tokens), hidden, positions)
        h = self.finish(attention(0, q, k, v), residual)
        if len(self.layers) > 1:
            cos, sin = self.angles(positions)
            for index, layer in enumerate(self.layers[1:], 1):
                x = layer.input_layernorm(h)
                h = layer.finish(
                    attention(index, layer.queries(x, cos, sin), *layer.keys_values(x, cos, sin)), h
                )
        return h

    def angles(self, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosine and sine ``[..., 1, n, d / 2]`` of `positions` ``[..., n]``, to be broadcast over heads."""
        return self.rotary.angles(positions, self.dtype)


def set_draft_vocabulary(head: EagleHead, tokens: Sequence[int]) -> None:
    """Set the target tokens that the rows of `lm_head` predict.

    Raises `ValueError` unless `tokens` has a token for each row, in ascending order.
    """
    if len(tokens) != head.config.draft_vocab_size or list(tokens) != sorted(set(tokens)):
        raise ValueError(f"give {head.config.draft_vocab_size} different tokens in ascending order")
    if tokens[0] < 0 or tokens[-1] >= head.config.vocab_size:
        raise ValueError(f"a token lies outside of the target's {head.config.vocab_size}")
    head.draft_ids.copy_(torch.tensor(list(tokens)))
