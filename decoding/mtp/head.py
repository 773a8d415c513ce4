"""A multi-token-prediction (MTP) module: one more decoder layer of the target's family, behind its last one.

A *pair* is a token and the target's last state at the position before it. The module reads both and predicts the token
behind; beyond the text that the target has read it goes on from its own output, as an EAGLE head does
(`decoding.eagle.head`), whose interface it has.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True, kw_only=True)
class MtpConfig:
    """Sizes and variants of a module."""

    hidden_size: int
    vocab_size: int
    feature_layers: tuple[int, ...]
    """The target's state that a pair has, as `LanguageModel` counts them."""
    hidden_first: bool
    """The state stands before the token in what the module reads."""
    carries_normed: bool
    """The state handed on is the normed one that the logits are taken from."""
    blank_first: bool
    """The pair at position 0 has no token."""
    num_hidden_layers: int = 1

    @property
    def draft_vocab_size(self) -> int:
        """Tokens that it predicts: all."""
        return self.vocab_size


class MtpHead(nn.Module):
    """The network, of parts of the target's family.

    `embedding` and `output` find the target's where the module has none of its own.
    """

    def __init__(
        self,
        config: MtpConfig,
        layer: nn.Module,
        rotary: nn.Module,
        norm: Callable[[], nn.Module],
        embedding: Callable[[], nn.Module] | None,
        output: Callable[[], nn.Module] | None,
    ) -> None:
        super().__init__()
        self.config = config
        width = config.hidden_size
        self.embed_norm, self.hidden_norm = norm(), norm()
        self.proj = nn.Linear(2 * width, width, bias=False)
        self.layer = layer
        self.norm = norm()
        self.own_embedding = nn.Embedding(config.vocab_size, width) if embedding is None else None
        self.lm_head: Any = nn.Linear(width, config.vocab_size, bias=False) if output is None else None
        self.draft_ids: torch.Tensor
        """Target token of each draft token: itself."""
        self.register_buffer("draft_ids", torch.arange(config.vocab_size))
        self._embedding, self._output = embedding, output
        # In a list, so that casting the module does not round its angles.
        self._rotary = [rotary]

    @property
    def dtype(self) -> torch.dtype:
        """The type everything is computed in."""
        return next(self.norm.parameters()).dtype

    def fuse(self, features: torch.Tensor) -> torch.Tensor:
        """The target's states ``[n, H]``, as a pair has them."""
        return features.to(self.dtype)

    def carry(self, h: torch.Tensor) -> torch.Tensor:
        """The substitute for the target's state in the next pair: ``[..., H]``."""
        out: torch.Tensor = self.norm(h) if self.config.carries_normed else h
        return out

    def logits(self, h: torch.Tensor) -> torch.Tensor:
        """Logits over the target's vocabulary: ``[..., H]`` to ``[..., V]``."""
        output = self.lm_head if self._output is None else self._output()
        out: torch.Tensor = output(self.norm(h))
        return out

    def forward(
        self,
        tokens: torch.Tensor,
        hidden: torch.Tensor,
        positions: torch.Tensor,
        cache: Any,
        mask: torch.Tensor | None,
    ) -> torch.Tensor:
        """Hidden states ``[n, H]`` of n pairs, as `decoding.eagle.head.EagleHead.forward`."""
        embed: Any = self.own_embedding if self._embedding is None else self._embedding()
        embeds = embed(tokens).to(self.dtype)
        if self.config.blank_first:
            embeds = embeds.masked_fill((positions == 0)[:, None], 0.0)
        parts = [self.embed_norm(embeds), self.hidden_norm(hidden)]
        x = self.proj(torch.cat(parts[::-1] if self.config.hidden_first else parts, dim=-1))[None]
        if self._rotary[0].inv_freq.device != x.device:
            self._rotary[0].to(x.device)
        seen = None if mask is None else mask[None, None]
        out = self.layer(
            x,
            attention_mask=seen,
            position_ids=positions[None],
            past_key_values=cache,
            use_cache=True,
            position_embeddings=self._rotary[0](x, positions[None]),
        )
        return (out[0] if isinstance(out, tuple) else out)[0]  # type: ignore[no-any-return]
