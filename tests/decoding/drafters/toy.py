"""A whole drafter without a model: after each token it drafts what followed that token the last time."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from spectui.decoding.drafters.base import ModelFree, Setup
from spectui.decoding.target.language_model import Scored
from spectui.decoding.trees.shape import Shape, TokenTree
from spectui.decoding.trees.spec import chain_only


class ToyDrafter(ModelFree):
    def __init__(self, setup: Setup) -> None:
        self.name = setup.name
        self.use(setup.shape)

    def use(self, shape: Shape) -> None:
        self._shape = chain_only(shape, self.name)

    def begin(self, prompt: Sequence[int], scored: Scored, seed: int = 0) -> None:
        self._next = dict(pairwise(prompt))

    def propose(self, root: int, max_depth: int) -> TokenTree:
        chain = [root]
        while chain[-1] in self._next and len(chain) <= min(max_depth, self._shape.size):
            chain.append(self._next[chain[-1]])
        return TokenTree.from_shape(
            self._shape.trimmed(len(chain) - 1), np.asarray(chain[1:], dtype=np.int64)
        )

    def observe(
        self, root: int, tree: TokenTree, scored: Scored, path: Sequence[int], bonus: int | None
    ) -> None:
        committed = [root, *(int(tree.token[node]) for node in path), *([] if bonus is None else [bonus])]
        self._next.update(pairwise(committed))
