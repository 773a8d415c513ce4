"""Drafts with an EAGLE-3 head (`decoding.eagle.head`), which reads hidden states of the target."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from spectui.decoding.drafters.base import Setup
from spectui.decoding.drafters.expansion import Expander
from spectui.decoding.eagle.head import EagleHead
from spectui.decoding.phases import LEVEL, phase
from spectui.decoding.target.cache import TreeCache
from spectui.decoding.target.language_model import PREFILL_CHUNK, Scored
from spectui.decoding.trees.shape import BoolArray, IntArray, Shape, TokenTree


def build(setup: Setup) -> EagleDrafter:
    """See `DrafterKind.build`."""
    return EagleDrafter(
        setup.draft, setup.shape, name=setup.name, temperature=setup.temperature, top_p=setup.top_p
    )


class EagleDrafter:
    """Trees of a head, whose keys and values are kept for every committed pair, computed from the target's features.

    A pair needs a feature of the target, which is known one round after the position was drafted: the head's own
    states on the tree are dropped, and the accepted path is fed again with the target's features before the next
    tree grows. Pair j stands at position j: only distances matter to rotary embeddings.
    """

    wants_prompt_logits = False
    _cheap_levels = False

    def __init__(
        self,
        head: EagleHead,
        shape: Shape,
        *,
        name: str = "eagle",
        temperature: float = 0.0,
        top_p: float = 1.0,
    ) -> None:
        self.name = name
        self.feature_layers = head.config.feature_layers
        self.head = head
        self._device = head.draft_ids.device
        self._expander = Expander(
            shape,
            head.config.vocab_size,
            head.config.draft_vocab_size,
            ids=head.draft_ids.cpu().numpy(),
            temperature=temperature,
            top_p=top_p,
            device=self._device,
            cheap_levels=self._cheap_levels,
        )
        self._cache: Any = TreeCache()
        self._length = 0
        """Committed pairs in the cache; slots behind them belong to the tree of the round."""
        self._tokens: list[int] = []
        self._features: list[torch.Tensor] = []
        """Pairs committed since the last proposal: a token each, and rows of features."""
        self._hidden = torch.empty(0)
        """The head's states of the nodes fed last, which their children are paired with."""
        self._seconds = 0.0

    def use(self, shape: Shape) -> None:
        """See `Drafter`."""
        self._expander.use(shape)

    def begin(self, prompt: Sequence[int], scored: Scored, seed: int = 0) -> None:
        """Feed the prompt's pairs but the last, which the first proposal starts from."""
        self._cache.reset()
        self._expander.begin(seed)
        self._length = 0
        self._tokens, self._features = list(prompt[1:]), []
        if scored.features is not None:
            self._features.append(scored.features)
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
        assert scored.features is not None
        tokens = [int(tree.token[node]) for node in path]
        self._tokens += tokens if bonus is None else [*tokens, bonus]
        rows = [0, *(node + 1 for node in path)]
        if bonus is None:
            rows.pop()
        # Mostly the path is the tree's first branch, and a slice is no copy.
        first = rows == list(range(len(rows)))
        features = scored.features
        self._features.append(features[: len(rows)] if first else self._pick(features, rows))

    def _pick(self, features: torch.Tensor, rows: list[int]) -> torch.Tensor:
        return features[rows]

    def seconds_in_models(self) -> float:
        """Time spent in the head's forwards."""
        return self._seconds

    @torch.inference_mode()
    def _feed_pending(self, count: int) -> None:
        """Commit the first `count` pending pairs."""
        if count < 1:
            return
        features = torch.cat(self._features) if len(self._features) > 1 else self._features[0]
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
                    self.head.fuse(features[start : start + size].to(self._device)),
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

    @contextlib.contextmanager
    def _timed(self) -> Iterator[None]:
        start = time.perf_counter()
        yield
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        self._seconds += time.perf_counter() - start
