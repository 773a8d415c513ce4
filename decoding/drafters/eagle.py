"""Drafts with an EAGLE-3 head (`decoding.eagle.head`), which reads hidden states of the target."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from spectui.decoding.drafters.base import Setup
from spectui.decoding.drafters.head import HeadDrafter
from spectui.decoding.eagle.head import EagleHead
from spectui.decoding.phases import LEVEL, phase
from spectui.decoding.target.language_model import PREFILL_CHUNK, Scored
from spectui.decoding.trees.shape import BoolArray, IntArray, TokenTree


class EagleDrafter(HeadDrafter):
    """Trees of a head, whose keys and values are kept for every committed pair, computed from the target's features.

    A pair needs a feature of the target, which is known one round after the position was drafted: the head's own
    states on the tree are dropped, and the accepted path is fed again with the target's features before the next
    tree grows. Pair j stands at position j: only distances matter to rotary embeddings.
    """

    head: EagleHead

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self._tokens: list[int] = []
        """Tokens of the pairs committed since the last proposal, whose features are `_features`."""
        self._hidden = torch.empty(0)
        """The head's states of the nodes fed last, which their children are paired with."""

    def begin(self, prompt: Sequence[int], scored: Scored, seed: int = 0) -> None:
        """Feed the prompt's pairs but the last, which the first proposal starts from."""
        self._tokens = list(prompt[1:])
        super().begin(prompt, scored, seed)

    def _commit(self) -> None:
        self._feed_pending(len(self._tokens) - 1)

    @torch.inference_mode()
    def propose(self, root: int, max_depth: int) -> TokenTree:
        """Feed the tokens committed since, then grow a tree from the root's pair.

        Empty after a prompt of one token, which makes no pair.
        """
        if max_depth < 1 or not self._tokens:
            return TokenTree.empty()
        self._cache.set_length(self._length)
        with phase(LEVEL):
            self._feed_pending(len(self._tokens))
            self._hidden = self._hidden[-1:]
            with self._timed():
                logits = self.head.logits(self._hidden).float()
        return self._expander.grow(logits, self._score, max_depth).tree

    def observe(
        self, root: int, tree: TokenTree, scored: Scored, path: Sequence[int], bonus: int | None
    ) -> None:
        """Pair each committed token with the target's feature of the position before it."""
        super().observe(root, tree, scored, path, bonus)
        tokens = [int(tree.token[node]) for node in path]
        self._tokens += tokens if bonus is None else [*tokens, bonus]

    @torch.inference_mode()
    def _feed_pending(self, count: int) -> None:
        """Commit the first `count` pending pairs."""
        if count < 1:
            return
        features = self._pending()
        tokens = torch.tensor(self._tokens[:count], device=self._device)
        for start in range(0, count, PREFILL_CHUNK):
            part = tokens[start : min(start + PREFILL_CHUNK, count)]
            size = len(part)
            # A query sees all that was committed before, and its own chunk up to itself.
            mask = None
            if size > 1:
                mask = torch.ones(size, self._length + size, dtype=torch.bool, device=self._device)
                mask = mask.tril(self._length)
            with self._timed():
                self._hidden = self.head(
                    part,
                    self.head.fuse(features[start : start + size]),
                    torch.arange(self._length, self._length + size, device=self._device),
                    self._cache,
                    mask,
                )
            self._length += size
        self._tokens = self._tokens[count:]
        self._features = [features[count:]] if self._tokens else []

    def _score(self, token: IntArray, depth: IntArray, mask: BoolArray, above: IntArray) -> torch.Tensor:
        """See `decoding.drafters.expansion.Score`."""
        sees = None
        if not mask.all():
            before = np.ones((len(token), self._length), dtype=np.bool_)
            sees = torch.from_numpy(np.concatenate([before, mask], axis=1)).to(self._device)
        with phase(LEVEL), self._timed():
            self._hidden = self.head(
                torch.from_numpy(token).to(self._device),
                self.head.carry(self._hidden[torch.from_numpy(above).to(self._device)]),
                torch.from_numpy(depth + self._length - 1).to(self._device),
                self._cache,
                sees,
            )
            return self.head.logits(self._hidden).float()
