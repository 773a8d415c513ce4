"""Drafts with a PARD model: a causal language model whose mask tokens behind the root predict all depths at once."""

from __future__ import annotations

import numpy as np
import torch

from spectui.decoding.drafters.base import Setup
from spectui.decoding.drafters.lm import LMDrafter
from spectui.decoding.errors import DecodingError
from spectui.decoding.phases import LEVEL, phase
from spectui.decoding.target.language_model import PREFILL_CHUNK
from spectui.decoding.trees.shape import TokenTree


class ParallelLMDrafter(LMDrafter):
    """Chains and trees over the product of the depths' distributions; mask tokens leave nothing in the cache."""

    _cheap_levels = True

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        model = self._model
        token = getattr(model.model.config, "pard_token", None)
        if type(token) is not int or not 0 <= token < model.rows:
            raise DecodingError(
                f"draft '{self.name}' has pard_token = {token} in its config.json, and embeddings for {model.rows} "
                "tokens; choose another"
            )
        self._mask_token = token

    @torch.inference_mode()
    def propose(self, root: int, max_depth: int) -> TokenTree:
        """See `LMDrafter.propose`; one forward, of the tokens committed since and of mask tokens."""
        depth = self._depth(max_depth)
        if depth < 1:
            return TokenTree.empty()
        with phase(LEVEL):
            logits = self._all_depths(depth)
        return self._expander.grow_product(logits, depth)

    def _depth(self, max_depth: int) -> int:
        """Depth of the tree; 0 where there can be none."""
        room = self._model.context - self._model.length - len(self._pending)
        depth = min(max_depth, room, self._expander.shape.max_depth)
        return depth if depth > 0 and self._can_name(self._pending) else 0

    def _all_depths(self, depth: int) -> torch.Tensor:
        """Feed and keep the tokens committed since; the logits ``[depth, W]`` below the last of them."""
        if len(self._pending) + depth > PREFILL_CHUNK:
            last = self._pending.pop()
            self._feed_pending()
            self._pending = [last]
        count = len(self._pending)
        tokens = np.asarray([*self._pending, *[self._mask_token] * (depth - 1)], dtype=np.int64)
        rows = len(tokens)
        logits = self._logits(tokens, np.arange(rows), np.tri(rows, dtype=np.bool_))[-depth:]
        self._model.keep(range(count))
        self._pending = []
        return logits
