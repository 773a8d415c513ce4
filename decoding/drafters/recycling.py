"""Token Recycling (arXiv 2408.08696): drafts from candidates that the target discarded; no training.

For every token its k most likely successors are kept, as the target last ranked them. Each node of a static tree
takes the successor of a fixed rank. There is an order, but no probabilities.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from spectui.decoding.drafters.base import ModelFree, Setup
from spectui.decoding.errors import UsageError
from spectui.decoding.target.distributions import top_tokens
from spectui.decoding.target.language_model import Scored
from spectui.decoding.trees.shape import ROOT, IntArray, Shape, TokenTree, TreeShape
from spectui.decoding.trees.spec import RECYCLING_WIDTH, static_only


def build(setup: Setup) -> RecyclingDrafter:
    """See `DrafterKind.build`."""
    return RecyclingDrafter(static_only(setup.shape, setup.name), setup.vocab_size)


class RecyclingDrafter(ModelFree):
    """Trees of the best successors, kept for every token over all prompts of a run, which is worth having."""

    name = "recycling"
    wants_prompt_logits = True

    def __init__(self, shape: TreeShape, vocab_size: int) -> None:
        self._shape = shape
        if shape.width > vocab_size:
            raise UsageError(
                f"tree '{shape.name}' has {shape.width} siblings; the vocabulary has {vocab_size} tokens"
            )
        self._width = self.best_read = min(max(shape.width, RECYCLING_WIDTH), vocab_size)
        # Rows of tokens never seen hold the most frequent predictions, so that every tree is whole and siblings
        # always differ; `_known` marks the others.
        self._successors: IntArray = np.empty((vocab_size, self._width), dtype=np.int64)
        self._known = np.empty(vocab_size, dtype=np.bool_)
        self._predicted = np.empty(vocab_size, dtype=np.int64)
        self.forget()

    def forget(self) -> None:
        """See `Remembers`: no token has been seen."""
        self._successors[:] = np.arange(self._width)
        self._known[:] = False
        self._predicted[:] = 0

    def use(self, shape: Shape) -> None:
        """See `Drafter`; static trees no wider than the rows that are kept."""
        static = static_only(shape, self.name)
        if static.width > self._width:
            raise UsageError(f"tree '{shape.name}' has {static.width} siblings; {self._width} are kept")
        self._shape = static

    def begin(self, prompt: Sequence[int], scored: Scored, seed: int = 0) -> None:
        """Learn the successors of the prompt's tokens; refresh the rows of unknown ones."""
        if scored.logits is not None:
            self._learn(np.asarray(prompt[:-1], dtype=np.int64), self._best(scored))
        frequent = torch.from_numpy(self._predicted).topk(self._width).indices.numpy()
        self._successors[~self._known] = frequent

    def propose(self, root: int, max_depth: int) -> TokenTree:
        """One gather per level: the token of a node is its rank's successor of its parent's token."""
        shape = self._shape.trimmed(max_depth)
        token = np.empty(shape.size, dtype=np.int64)
        for level in shape.levels:
            parent = shape.parent[level]
            above = np.where(parent == ROOT, root, token[parent])
            token[level] = self._successors[above, shape.rank[level]]
        return TokenTree.from_shape(shape, token)

    def observe(
        self, root: int, tree: TokenTree, scored: Scored, path: Sequence[int], bonus: int | None
    ) -> None:
        """Renew the row of every token of the tree, rejected ones too.

        Where a token stands on the tree twice, the accepted occurrence, then the shallower one, wins.
        """
        order = np.asarray([*range(tree.size, 0, -1), 0, *(i + 1 for i in path)])
        self._learn(np.concatenate([[root], tree.token]), self._best(scored), order)

    def _best(self, scored: Scored) -> IntArray:
        if scored.best is not None:
            return scored.best
        assert scored.logits is not None
        best: IntArray = top_tokens(scored.logits, self._width).cpu().numpy()
        return best

    def _learn(self, tokens: IntArray, best: IntArray, order: IntArray | None = None) -> None:
        """Rows of `best` belong to `tokens`; later ones (of `order`) win where a token stands twice."""
        order = np.arange(len(tokens)) if order is None else order
        self._successors[tokens[order]] = best[order]
        self._known[tokens] = True
        np.add.at(self._predicted, best[:, 0], 1)
