"""The base of drafters with a head, which reads hidden states of the target at every committed position."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from spectui.decoding.drafters.base import Setup
from spectui.decoding.drafters.expansion import Expander
from spectui.decoding.target.cache import TreeCache
from spectui.decoding.target.language_model import Scored
from spectui.decoding.trees.shape import Shape, TokenTree


class HeadDrafter:
    """Keeps the keys and values of committed positions, and the target's features of those that are still to be read;
    what else the head is fed is dropped after each round."""

    wants_prompt_logits = False
    head: Any
    _cheap_levels = False
    """See `Expander`."""

    def __init__(self, setup: Setup) -> None:
        self.name, self.head = setup.name, setup.draft
        config = self.head.config
        self.feature_layers: tuple[int, ...] = config.feature_layers
        self._device: torch.device = self.head.draft_ids.device
        self._check(setup.shape)
        self._expander = Expander(
            setup.shape,
            config.vocab_size,
            config.draft_vocab_size,
            ids=self.head.draft_ids.cpu().numpy(),
            temperature=setup.temperature,
            top_p=setup.top_p,
            device=self._device,
            cheap_levels=self._cheap_levels,
            confident=getattr(self.head, "confidence_head", None) is not None,
        )
        self._cache: Any = TreeCache()
        self._length = 0
        """Committed positions in the cache; slots behind them belong to the round."""
        self._features: list[torch.Tensor] = []
        """Rows of features of the positions committed since."""
        self._seconds = 0.0

    def use(self, shape: Shape) -> None:
        """See `Drafter`."""
        self._check(shape)
        self._expander.use(shape)

    def _check(self, shape: Shape) -> None:
        """Raise `UsageError` for trees that the head cannot fill."""

    def begin(self, prompt: Sequence[int], scored: Scored, seed: int = 0) -> None:
        """Read what the target has read, all of the prompt but its last token."""
        self._cache.reset()
        self._expander.begin(seed)
        self._length, self._features = 0, []
        if scored.features is not None:
            self._features.append(scored.features)
            self._commit()

    def _commit(self) -> None:
        """Keep keys and values of the positions committed since, but those that the next proposal starts from."""
        raise NotImplementedError

    def observe(
        self, root: int, tree: TokenTree, scored: Scored, path: Sequence[int], bonus: int | None
    ) -> None:
        """Take the target's features of the root and the accepted path."""
        assert scored.features is not None
        rows = [0, *(node + 1 for node in path)]
        if bonus is None:  # the last token is read again, as the next root
            rows.pop()
        # Mostly the path is the tree's first branch, and a slice is no copy.
        first, features = rows == list(range(len(rows))), scored.features
        self._features.append(features[: len(rows)] if first else self._pick(features, rows))

    def _pick(self, features: torch.Tensor, rows: list[int]) -> torch.Tensor:
        return features[rows]

    def _pending(self) -> torch.Tensor:
        """Features of the positions committed since, which are no longer pending then."""
        features = torch.cat(self._features) if len(self._features) != 1 else self._features[0]
        self._features = []
        return features.to(self._device)

    def seconds_in_models(self) -> float:
        """Time spent in the head's forwards."""
        return self._seconds

    @contextlib.contextmanager
    def _timed(self) -> Iterator[None]:
        start = time.perf_counter()
        yield
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        self._seconds += time.perf_counter() - start
