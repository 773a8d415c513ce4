"""The DFlash draft head: a block of masked positions behind the text is filled in by one forward.

The head reads hidden states of the target at committed tokens, the *context*, and the target's embeddings of the root
and of mask tokens behind it. Row j of the block predicts the token at its own position, j tokens behind the root. Keys
and values of the context depend on the context alone: they stay in a cache, those of the block never do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from spectui.decoding.block.markov import ConfidenceHead, MarkovHead
from spectui.decoding.heads.config import LayerConfig
from spectui.decoding.heads.layers import DraftLayer, Rotary, attend


@dataclass(frozen=True)
class Sight:
    """The positions that a layer's rows attend to."""

    causal: bool = False
    """No later row of the block."""
    window: int | None = None
    """Only positions nearer than this."""

    @property
    def everything(self) -> bool:
        """True for the whole context and the whole block."""
        return not self.causal and self.window is None

    def of(self, rows: torch.Tensor, slots: torch.Tensor) -> torch.Tensor:
        """``[n, m]``, true where a row at position ``rows [n]`` attends to position ``slots [m]``."""
        away = rows[:, None] - slots[None]
        seen = torch.ones_like(away, dtype=torch.bool)
        if self.causal:
            seen &= away >= 0
        if self.window is not None:
            seen &= away < self.window
            seen &= away > -self.window
        return seen


@dataclass(frozen=True, kw_only=True)
class BlockConfig(LayerConfig):
    """The sizes and variants of a head."""

    vocab_size: int
    """Tokens of the target, which the head reads."""
    draft_vocab_size: int
    """Tokens that the head predicts; `BlockHead.draft_ids` lists them."""
    feature_layers: tuple[int, ...]
    """Hidden states of the target that make up the context, in order, as `LanguageModel` counts them."""
    block_size: int
    """Rows of a block, the root's among them."""
    mask_token: int
    anchored: bool = False
    """The root's row predicts too, and each row the token behind it."""
    sights: tuple[Sight, ...] = ()
    """One for each layer."""
    embedding_scale: float = 1.0
    output_multiplier: float = 1.0
    softcap: float | None = None
    markov: str | None = None
    """Type of the Markov head of DSpark (`decoding.block.markov`); None for DFlash."""
    markov_rank: int = 0
    confident: bool = False
    """It has a confidence head."""
    confidence_reads_token: bool = True
    """That reads the token before, too."""

    @property
    def drafted(self) -> int:
        """Tokens that a block drafts."""
        return self.block_size if self.anchored else self.block_size - 1


class BlockHead(nn.Module):
    """The network. H is its width and its target's, B the rows of a block.

    `embed_tokens` is the target's embedding, and `output` finds the target's LM head; None where the head has its own.
    """

    def __init__(
        self, config: BlockConfig, embed_tokens: nn.Module | None, output: Callable[[], nn.Module] | None
    ) -> None:
        super().__init__()
        self.config = config
        width, eps = config.hidden_size, config.rms_norm_eps
        self.fc = nn.Linear(len(config.feature_layers) * width, width, bias=False)
        self.hidden_norm = nn.RMSNorm(width, eps)
        self.layers: Any = nn.ModuleList(DraftLayer(config) for _ in range(config.num_hidden_layers))
        self.norm = nn.RMSNorm(width, eps)
        self.lm_head: Any = nn.Linear(width, config.draft_vocab_size, bias=False) if output is None else None
        self.draft_ids: torch.Tensor
        """Target token of each draft token, ``[draft_vocab_size]``."""
        self.register_buffer("draft_ids", torch.arange(config.draft_vocab_size))
        self.markov_head = (
            None
            if config.markov is None
            else MarkovHead(
                config.markov, config.vocab_size, config.draft_vocab_size, config.markov_rank, width
            )
        )
        self.confidence_head = (
            ConfidenceHead(width, config.markov_rank if config.confidence_reads_token else 0)
            if config.confident
            else None
        )
        self.own_embedding = nn.Embedding(config.vocab_size, width) if embed_tokens is None else None
        # In a list, so that it is no submodule.
        self._borrowed = [] if embed_tokens is None else [embed_tokens]
        self._output = output
        self.rotary = Rotary(config)

    @property
    def dtype(self) -> torch.dtype:
        """The type everything is computed in."""
        return self.norm.weight.dtype

    def context(self, features: torch.Tensor) -> torch.Tensor:
        """Concatenated hidden states of the target ``[m, k H]`` to ``[m, H]``, which every layer reads."""
        out: torch.Tensor = self.hidden_norm(self.fc(features.to(self.dtype)))
        return out

    def remember(self, context: torch.Tensor, positions: torch.Tensor, cache: Any) -> None:
        """Append keys and values of `context` ``[m, H]`` at `positions` ``[m]`` to `cache`."""
        cos, sin = self.rotary.angles(positions, self.dtype)
        for index, layer in enumerate(self.layers):
            cache.update(*layer.keys_values(context[None], cos, sin), index)

    def forward(
        self,
        context: torch.Tensor,
        tokens: torch.Tensor,
        positions: torch.Tensor,
        cache: Any,
        masks: Sequence[torch.Tensor | None],
    ) -> torch.Tensor:
        """Hidden states ``[B, H]`` of the block `tokens` ``[B]``.

        `context` ``[m, H]`` are tokens committed since the last forward, `positions` ``[m + B]`` theirs and then the
        block's; the keys and values of both are appended to `cache`. `masks` has one ``[B, slots]`` for each layer,
        None for all slots.
        """
        block = len(tokens)
        embedding: Any = self.own_embedding or self._borrowed[0]
        # The weight alone: a target may scale what it reads of it, a head has a scale of its own.
        embeds = nn.functional.embedding(tokens, embedding.weight)
        h = (embeds * self.config.embedding_scale).to(self.dtype)[None]
        context = context[None]
        cos, sin = self.rotary.angles(positions, self.dtype)
        rows = (cos[..., -block:, :], sin[..., -block:, :])
        for index, (layer, mask) in enumerate(zip(self.layers, masks, strict=True)):
            x = layer.input_layernorm(h)
            k, v = cache.update(*layer.keys_values(torch.cat([context, x], dim=1), cos, sin), index)
            h = layer.finish(attend(layer.queries(x, *rows), k, v, mask), h)
        return h[0]

    def predicting(self, hidden: torch.Tensor) -> torch.Tensor:
        """The normed states ``[drafted, H]`` of the rows that predict, of a block's `hidden` ``[B, H]``."""
        rows = hidden if self.config.anchored else hidden[1:]
        out: torch.Tensor = self.norm(rows)
        return out

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        """float32 logits over the draft vocabulary of `states`, as `predicting` returns them."""
        output = self.lm_head if self._output is None else self._output()
        logits: torch.Tensor = output(states).float()
        if self.config.output_multiplier != 1.0:
            logits = logits * self.config.output_multiplier
        if (cap := self.config.softcap) is not None:
            logits = cap * torch.tanh(logits / cap)
        return logits
