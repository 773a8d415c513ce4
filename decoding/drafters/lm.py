"""Drafts with a causal language model that shares the target's vocabulary."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from spectui.decoding.drafters.base import Setup
from spectui.decoding.drafters.expansion import Expander
from spectui.decoding.phases import LEVEL, phase
from spectui.decoding.target.language_model import PREFILL_CHUNK, LanguageModel, Scored
from spectui.decoding.trees.shape import BoolArray, IntArray, Shape, TokenTree


class LMDrafter:
    """Trees from a model's full vocabulary (see `Expander`).

    The draft's temperature and top-p are the target's: any q is lossless, a similar one accepts more.
    """

    wants_prompt_logits = False
    feature_layers: tuple[int, ...] = ()
    _model_class = LanguageModel
    _cheap_levels = False
    """See `Expander`."""

    def __init__(self, setup: Setup) -> None:
        self.name = setup.name
        self._model = self._model_class(setup.draft)
        # Padded embeddings may differ in size; a token that the draft cannot name has probability 0.
        self._named = min(setup.vocab_size, self._model.vocab_size)
        self._expander = Expander(
            setup.shape,
            setup.vocab_size,
            self._named,
            temperature=setup.temperature,
            top_p=setup.top_p,
            device=self._model.device,
            cheap_levels=self._cheap_levels,
        )
        self._pending: list[int] = []
        self._slot: dict[int, int] = {}

    def use(self, shape: Shape) -> None:
        """See `Drafter`."""
        self._expander.use(shape)

    def begin(self, prompt: Sequence[int], scored: Scored, seed: int = 0) -> None:
        """Prefill the draft with all but the prompt's last token, which the first proposal feeds."""
        self._model.reset()
        self._expander.begin(seed)
        self._slot = {}
        self._pending = list(prompt)
        if len(prompt) < self._model.context and self._can_name(prompt):
            self._model.prefill(prompt[:-1])
            self._pending = [prompt[-1]]

    @torch.inference_mode()
    def propose(self, root: int, max_depth: int) -> TokenTree:
        """Feed the tokens committed since, then one level after another.

        Empty once the draft's own context is full, or after a token that it has no embedding for: the target goes on
        alone.
        """
        room = self._model.context - self._model.length - len(self._pending)
        if min(max_depth, room) < 1 or not self._can_name(self._pending):
            return TokenTree.empty()
        with phase(LEVEL):
            logits = self._feed_pending()
        grown = self._expander.grow(logits, self._score, min(max_depth, room))
        self._slot = grown.slot
        return grown.tree

    def observe(
        self, root: int, tree: TokenTree, scored: Scored, path: Sequence[int], bonus: int | None
    ) -> None:
        """Keep the accepted nodes that were fed; the rest of the path is fed by the next proposal.

        Nothing was fed of a tree that another drafter proposed.
        """
        fed = [node for node in path if node in self._slot]
        self._model.keep([self._slot[node] for node in fed])
        self._pending += [int(tree.token[node]) for node in path[len(fed) :]]
        if bonus is not None:
            self._pending.append(bonus)
        self._slot = {}

    def seconds_in_models(self) -> float:
        """Time spent in the draft model's forwards."""
        return self._model.forward_seconds

    def _feed_pending(self) -> torch.Tensor:
        """Feed and keep the tokens committed since, many where lookup drafted for long; the logits after the last,
        ``[1, W]``."""
        pending, logits = np.asarray(self._pending, dtype=np.int64), torch.empty(0)
        for start in range(0, len(pending), PREFILL_CHUNK):
            part = pending[start : start + PREFILL_CHUNK]
            count = len(part)
            logits = self._logits(part, np.arange(count), np.tri(count, dtype=np.bool_))[-1:]
            self._model.keep(range(count))
        self._pending = []
        return logits

    def _can_name(self, tokens: Sequence[int]) -> bool:
        return max(tokens) < self._model.rows

    def _score(self, token: IntArray, depth: IntArray, mask: BoolArray, above: IntArray) -> torch.Tensor:
        """See `decoding.drafters.expansion.Score`; a node's parent is found through the mask."""
        with phase(LEVEL):
            return self._logits(token, depth - 1, mask)

    def _logits(self, token: IntArray, depth: IntArray, mask: BoolArray) -> torch.Tensor:
        """The logits of `LanguageModel.append`, of tokens that the target knows too."""
        logits = self._model.append(token, depth, mask).logits
        assert logits is not None
        return logits[:, : self._named]
