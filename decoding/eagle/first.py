"""The EAGLE-1 and EAGLE-2 draft head (arXiv 2401.15077, 2406.16858): plain decoder layers over the target's last state.

Pairs are those of `decoding.eagle.head`, whose interface it has. A pair's token and state enter side by side through
`fc`; what the last layer puts out predicts through an LM head, without a norm before it, and is handed on. EAGLE-2 is
the same network: it chooses its trees anew each round.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from spectui.decoding.heads.config import LayerConfig
from spectui.decoding.heads.layers import DraftLayer, Rotary, attend
from spectui.decoding.target.cache import TreeCache


@dataclass(frozen=True, kw_only=True)
class FirstHeadConfig(LayerConfig):
    """The sizes and variants of a head."""

    vocab_size: int
    """Tokens of the target, which the head reads and predicts."""
    feature_layers: tuple[int, ...]
    """The target's last state, behind its final norm, as `LanguageModel` counts it."""
    fc_bias: bool = False

    @property
    def draft_vocab_size(self) -> int:
        """Tokens that it predicts: all."""
        return self.vocab_size


class FirstEagleHead(nn.Module):
    """The network. H is its width and its target's.

    `embedding` and `output` find the target's where the head has none of its own.
    """

    def __init__(
        self,
        config: FirstHeadConfig,
        embedding: Callable[[], nn.Module] | None,
        output: Callable[[], nn.Module] | None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.config = config
        width = config.hidden_size
        self.fc = nn.Linear(2 * width, width, bias=config.fc_bias)
        self.layers: Any = nn.ModuleList(
            DraftLayer(config, normed=i > 0) for i in range(config.num_hidden_layers)
        )
        """Replaced for decoding on a CPU, see `decoding.eagle.lean`."""
        self.own_embedding = nn.Embedding(config.vocab_size, width) if embedding is None else None
        self.lm_head: Any = nn.Linear(width, config.vocab_size, bias=False) if output is None else None
        self.draft_ids: torch.Tensor
        """Target token of each draft token: itself."""
        self.register_buffer("draft_ids", torch.arange(config.vocab_size))
        self._embedding, self._output = embedding, output
        self.rotary = Rotary(config)
        self.dtype = dtype
        """The type everything is computed in."""
        self.table: Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]] | None = None
        """Angles for layers that were replaced, see `decoding.eagle.lean`."""

    def fuse(self, features: torch.Tensor) -> torch.Tensor:
        """The target's states ``[n, H]``, as a pair has them."""
        return features.to(self.dtype)

    def carry(self, h: torch.Tensor) -> torch.Tensor:
        """The substitute for the target's state in the next pair: ``[..., H]``."""
        return h

    def logits(self, h: torch.Tensor) -> torch.Tensor:
        """Logits over the target's vocabulary: ``[..., H]`` to ``[..., V]``."""
        output = self.lm_head if self._output is None else self._output()
        out: torch.Tensor = output(h)
        return out

    def forward(
        self,
        tokens: torch.Tensor,
        hidden: torch.Tensor,
        positions: torch.Tensor,
        cache: TreeCache,
        mask: torch.Tensor | None,
    ) -> torch.Tensor:
        """Hidden states ``[n, H]`` of n pairs, as `decoding.eagle.head.EagleHead.forward`."""
        embed: Any = self.own_embedding if self._embedding is None else self._embedding()
        embeds = nn.functional.embedding(tokens, embed.weight).to(self.dtype)
        h: torch.Tensor = self.fc(torch.cat([embeds, hidden], dim=-1))
        if self.table is not None:
            angles = self.table(positions)
            for layer in self.layers:
                h = layer(embeds, h, angles, cache, mask)
            return h
        cos, sin = self.rotary.angles(positions, self.dtype)
        h = h[None]
        for index, layer in enumerate(self.layers):
            x = layer.input_layernorm(h)
            k, v = cache.update(*layer.keys_values(x, cos, sin), index)
            h = layer.finish(attend(layer.queries(x, cos, sin), k, v, mask), h)
        return h[0]
