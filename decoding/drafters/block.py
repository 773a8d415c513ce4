"""Drafts with a DFlash head (`decoding.block.head`): one forward a round, whatever the tree."""

from __future__ import annotations

import torch

from spectui.decoding.block.head import BlockHead
from spectui.decoding.drafters.head import HeadDrafter
from spectui.decoding.errors import UsageError
from spectui.decoding.phases import LEVEL, phase
from spectui.decoding.trees.shape import Shape, TokenTree, TreeShape


class BlockDrafter(HeadDrafter):
    """Chains and trees over the product of a block's distributions, one for each depth.

    Keys and values are kept for committed tokens, computed from the target's features; those of a block are dropped.
    """

    head: BlockHead
    _cheap_levels = True

    def _check(self, shape: Shape) -> None:
        config = self.head.config
        if isinstance(shape, TreeShape) and shape.max_depth > config.drafted:
            raise UsageError(
                f"tree '{shape.name}' is {shape.max_depth} deep; '{self.name}' drafts {config.drafted} tokens a round "
                f"(block_size {config.block_size})"
            )

    @torch.inference_mode()
    def propose(self, root: int, max_depth: int) -> TokenTree:
        """A tree from one block. Empty after a prompt of one token, which leaves the head nothing to read."""
        if max_depth < 1 or not (self._length or self._features):
            return TokenTree.empty()
        with phase(LEVEL):
            logits, _ = self._block(root)
        return self._expander.grow_product(logits, max_depth)

    @torch.inference_mode()
    def _commit(self) -> None:
        with self._timed():
            self._cache.set_length(self._length)
            context = self.head.context(self._pending())
            positions = torch.arange(self._length, self._length + len(context), device=self._device)
            self.head.remember(context, positions, self._cache)
            self._length += len(context)

    def _block(self, root: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The logits ``[D, W]`` of depth 1, 2, ... below `root`, and the states ``[D, H]`` that they are taken from."""
        head, config = self.head, self.head.config
        with self._timed():
            self._cache.set_length(self._length)
            if self._features:
                context = head.context(self._pending())
            else:
                context = torch.empty(0, config.hidden_size, dtype=head.dtype, device=self._device)
            known = self._length + len(context)
            positions = torch.arange(self._length, known + config.block_size, device=self._device)
            tokens = torch.full((config.block_size,), config.mask_token, device=self._device)
            tokens[0] = root
            slots = torch.arange(known + config.block_size, device=self._device)
            masks = [None if sight.everything else sight.of(slots[known:], slots) for sight in config.sights]
            hidden = head(context, tokens, positions, self._cache, masks)
            self._length = known
            states = head.predicting(hidden)
            return head.logits(states), states
