"""Drafts with a DFlash head (`decoding.block.head`): one forward a round, whatever the tree."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch

from spectui.decoding.block.head import BlockHead
from spectui.decoding.drafters.base import Setup
from spectui.decoding.drafters.expansion import Expander
from spectui.decoding.errors import UsageError
from spectui.decoding.phases import LEVEL, phase
from spectui.decoding.target.cache import TreeCache
from spectui.decoding.target.language_model import Scored
from spectui.decoding.trees.shape import Shape, TokenTree, TreeShape


def build(setup: Setup) -> BlockDrafter:
    """See `DrafterKind.build`."""
    return BlockDrafter(
        setup.draft, setup.shape, name=setup.name, temperature=setup.temperature, top_p=setup.top_p
    )


class BlockDrafter:
    """Chains and trees over the product of a block's distributions, one for each depth.

    Keys and values are kept for committed tokens, computed from the target's features; those of a block are dropped.
    """

    wants_prompt_logits = False

    def __init__(
        self,
        head: BlockHead,
        shape: Shape,
        *,
        name: str = "dflash",
        temperature: float = 0.0,
        top_p: float = 1.0,
    ) -> None:
        self.name, self.head = name, head
        self.feature_layers = head.config.feature_layers
        self._device = head.draft_ids.device
        self._check(shape)
        self._expander = Expander(
            shape,
            head.config.vocab_size,
            head.config.draft_vocab_size,
            ids=head.draft_ids.cpu().numpy(),
            temperature=temperature,
            top_p=top_p,
            device=self._device,
            cheap_levels=True,
        )
        self._cache: Any = TreeCache()
        self._length = 0
        """Committed tokens in the cache."""
        self._features: list[torch.Tensor] = []
        """Rows of features of the tokens committed since."""
        self._seconds = 0.0

    def use(self, shape: Shape) -> None:
        """See `Drafter`."""
        self._check(shape)
        self._expander.use(shape)

    def _check(self, shape: Shape) -> None:
        config = self.head.config
        if isinstance(shape, TreeShape) and shape.max_depth > config.drafted:
            raise UsageError(
                f"tree '{shape.name}' is {shape.max_depth} deep; '{self.name}' drafts {config.drafted} tokens a round "
                f"(block_size {config.block_size})"
            )

    @torch.inference_mode()
    def begin(self, prompt: Sequence[int], scored: Scored, seed: int = 0) -> None:
        """Keep the keys and values of the prompt but its last token, which the target has not read."""
        self._cache.reset()
        self._expander.begin(seed)
        self._length, self._features = 0, []
        if scored.features is not None:
            self._features.append(scored.features)
            self._commit()

    @torch.inference_mode()
    def propose(self, root: int, max_depth: int) -> TokenTree:
        """A tree from one block. Empty after a prompt of one token, which leaves the head nothing to read."""
        if max_depth < 1 or not (self._length or self._features):
            return TokenTree.empty()
        with phase(LEVEL):
            logits = self._block(root)
        return self._expander.grow_product(logits, max_depth)

    def observe(
        self, root: int, tree: TokenTree, scored: Scored, path: Sequence[int], bonus: int | None
    ) -> None:
        """Take the target's features of the root and the accepted path."""
        assert scored.features is not None
        rows = [0, *(node + 1 for node in path)]
        if bonus is None:  # the last token is read again, as the next root
            rows.pop()
        in_order, features = rows == list(range(len(rows))), scored.features
        self._features.append(features[: len(rows)] if in_order else self._pick(features, rows))

    def _pick(self, features: torch.Tensor, rows: list[int]) -> torch.Tensor:
        return features[rows]

    def seconds_in_models(self) -> float:
        """Time spent in the head's forwards."""
        return self._seconds

    def _commit(self) -> None:
        """Keep the keys and values of all tokens committed since."""
        start = time.perf_counter()
        self._cache.set_length(self._length)
        context = self.head.context(self._pending())
        positions = torch.arange(self._length, self._length + len(context), device=self._device)
        self.head.remember(context, positions, self._cache)
        self._length += len(context)
        self._end(start)

    def _pending(self) -> torch.Tensor:
        """Features of the tokens committed since, which are no longer pending then."""
        features = torch.cat(self._features) if len(self._features) != 1 else self._features[0]
        self._features = []
        return features.to(self._device)

    def _block(self, root: int) -> torch.Tensor:
        """The logits ``[D, W]`` of depth 1, 2, ... below `root`."""
        return self._block_and_states(root)[0]

    def _block_and_states(self, root: int) -> tuple[torch.Tensor, torch.Tensor]:
        """See `_block`; with the states ``[D, H]`` that they are taken from."""
        head, config = self.head, self.head.config
        start = time.perf_counter()
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
        logits = head.logits(states)
        self._end(start)
        return logits, states

    def _end(self, start: float) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        self._seconds += time.perf_counter() - start
