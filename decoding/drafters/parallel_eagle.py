"""Drafts with a P-EAGLE head, an EAGLE-3 head whose masked pairs behind the root's predict all depths at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from spectui.decoding.drafters.eagle import EagleDrafter
from spectui.decoding.phases import LEVEL, phase
from spectui.decoding.target.language_model import PREFILL_CHUNK
from spectui.decoding.trees.shape import TokenTree


class ParallelEagleDrafter(EagleDrafter):
    """Chains and trees over the product of the depths' distributions; masked pairs leave nothing in the cache."""

    _cheap_levels = True

    @torch.inference_mode()
    def propose(self, root: int, max_depth: int) -> TokenTree:
        """A tree from one forward over the pairs committed since and the masked ones.

        Empty after a prompt of one token, which makes no pair.
        """
        if max_depth < 1 or not self._tokens:
            return TokenTree.empty()
        with phase(LEVEL):
            logits = self._all_depths()
        return self._expander.grow_product(logits, max_depth)

    def _all_depths(self) -> torch.Tensor:
        """Commit all pending pairs; the logits ``[D, W]`` of depth 1, 2, ... below the last."""
        self._cache.set_length(self._length)
        depth = self._expander.shape.max_depth
        if len(self._tokens) + depth > PREFILL_CHUNK:
            self._commit()
        start = self._length
        tokens, features = self._with_masks(depth - 1)
        rows = len(tokens)
        mask = torch.ones(rows, start + rows, dtype=torch.bool, device=self._device).tril(start)
        positions = torch.arange(start, start + rows, device=self._device)
        with self._timed():
            ids = torch.tensor(tokens, device=self._device)
            hidden = self.head(ids, self.head.fuse(features), positions, self._cache, mask)
            logits = self.head.logits(hidden[-depth:]).float()
        self._length += rows - depth + 1
        return logits

    def _with_masks(self, count: int) -> tuple[Sequence[int], torch.Tensor]:
        """Tokens and features of all pending pairs, which are no longer pending then, and of `count` masked ones."""
        masked, mask_token = self.head.mask_hidden, self.head.config.mask_token
        assert masked is not None
        assert mask_token is not None
        tokens = [*self._tokens, *[mask_token] * count]
        self._tokens, features = [], self._pending()
        return tokens, torch.cat([features, masked[0].to(features).expand(count, -1)])
