"""Drafts with a DSpark head: a DFlash block whose distributions depend on the token before, for one small product."""

from __future__ import annotations

import torch

from spectui.decoding.block.head import BlockHead
from spectui.decoding.drafters.block import BlockDrafter
from spectui.decoding.phases import LEVEL, phase
from spectui.decoding.trees.shape import BoolArray, IntArray, TokenTree


class MarkovDrafter(BlockDrafter):
    """Chains and trees from one block: each node's distribution is that of its depth, moved by its token."""

    @torch.inference_mode()
    def propose(self, root: int, max_depth: int) -> TokenTree:
        """A tree from one block. Empty after a prompt of one token, which leaves the head nothing to read."""
        if max_depth < 1 or not (self._length or self._features):
            return TokenTree.empty()
        with phase(LEVEL):
            block = MarkovBlock(self.head, *self._block(root), root)

        def score(token: IntArray, depth: IntArray, mask: BoolArray, above: IntArray) -> torch.Tensor:
            tokens, rows = (torch.from_numpy(values).to(self._device) for values in (token, above))
            return block.descend(tokens, int(depth[0]), rows)

        depth = min(max_depth, self.head.config.drafted)
        return self._expander.grow(block.first, score, depth, block.confidence).tree


class MarkovBlock:
    """The distributions of one block, level by level."""

    def __init__(self, head: BlockHead, logits: torch.Tensor, states: torch.Tensor, root: int) -> None:
        assert head.markov_head is not None
        self._markov, self._logits, self._states = head.markov_head, logits, states
        self._estimate = head.confidence_head
        self._last = (states, torch.empty(0))
        self._memory = states.new_zeros(1, head.markov_head.rank)
        token = torch.full((1,), root, dtype=torch.int64, device=states.device)
        self.first = self.descend(token, 0, torch.zeros_like(token))
        """Logits ``[1, W]`` after the root."""

    def descend(self, token: torch.Tensor, depth: int, above: torch.Tensor) -> torch.Tensor:
        """Logits ``[m, W]`` after the nodes `token` ``[m]`` of one `depth`, whose parents are rows `above` of the call
        before."""
        states = self._states[depth].expand(len(token), -1)
        self._last = (states, token)
        bias, self._memory = self._markov(token, states, self._memory.index_select(0, above))
        logits: torch.Tensor = self._logits[depth] + bias
        return logits

    def confidence(self) -> torch.Tensor:
        """The chance ``[m]`` that a token drafted after each of the nodes named last is accepted."""
        assert self._estimate is not None
        states, token = self._last
        chance: torch.Tensor = self._estimate(states, self._markov.markov_w1(token))
        return chance
