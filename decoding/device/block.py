"""The DFlash drafter on the device: context and block in one forward of fixed size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from spectui.decoding.device.attention import kernel_for_head, preferring
from spectui.decoding.device.cache import BufferedCache, capacity_for
from spectui.decoding.device.clock import Stopwatch
from spectui.decoding.device.graphs import Graphs
from spectui.decoding.device.growth import TreeGrower
from spectui.decoding.device.model import ROWS, padded_rows, view_of
from spectui.decoding.device.transfer import upload
from spectui.decoding.device.tree import DeviceTree
from spectui.decoding.drafters.base import Setup
from spectui.decoding.drafters.block import BlockDrafter
from spectui.decoding.drafters.markov import MarkovBlock, MarkovDrafter
from spectui.decoding.phases import LEVEL, phase
from spectui.decoding.trees.shape import BoolArray, IntArray


@dataclass(frozen=True)
class _Inputs:
    """Inputs of forwards of one size: the same tensors every time, as a captured graph needs them."""

    features: torch.Tensor
    tokens: torch.Tensor
    positions: torch.Tensor
    slots: torch.Tensor
    known: torch.Tensor
    """Tokens that the block stands behind."""


class DeviceBlockDrafter(BlockDrafter):
    """`BlockDrafter` as a `decoding.device.tree.DeviceDrafter`.

    Padding rows of the context write behind the block, where no row attends to.
    """

    _cache: BufferedCache
    _product = True
    """True where a level's distributions depend on the depth alone."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self._cache = BufferedCache()
        self._grower = TreeGrower(self._expander, self._device, self.head.draft_ids, product=self._product)
        self._forwards = Graphs(self._device)
        self._inputs_of: dict[tuple[int, int], _Inputs] = {}
        self._stopwatch = Stopwatch(self._device)

    @property
    def graphs(self) -> tuple[Graphs, ...]:
        """Everything that it captures."""
        return self._forwards, self._grower.graphs

    @torch.inference_mode()
    def propose_tensors(self, root: int, max_depth: int) -> DeviceTree | None:
        """See `DeviceDrafter.propose_tensors`."""
        depth = min(max_depth, self.head.config.drafted)
        if depth < 1 or not (self._length or self._features) or not self._grower.fits(depth):
            return None
        with phase(LEVEL):
            logits, _ = self._block(root)
        return self._grower.grow_product(depth, logits)

    def set_slots(self, slots: Sequence[int]) -> None:
        """Nothing to remember: no node is fed to the head."""

    def seconds_in_models(self) -> float:
        """Time spent in the head's forwards; on a GPU waits for the work that it has been given."""
        return self._seconds + self._stopwatch.seconds()

    def settle(self) -> None:
        """See `DeviceDrafter.settle`."""
        self._stopwatch.settle()

    def reserve(self, tokens: int, context: int) -> None:
        """See `DeviceDrafter.reserve`."""
        if self._cache.renew(capacity_for(tokens, self._behind, context)):
            self._forget_captured()

    @property
    def _behind(self) -> int:
        """Most slots behind the committed tokens: those of a block, and of padding."""
        return ROWS[-1] + self.head.config.block_size

    def _commit(self) -> None:
        self._make_room(self._length + sum(map(len, self._features)))
        super()._commit()

    def _pick(self, features: torch.Tensor, rows: list[int]) -> torch.Tensor:
        return features.index_select(0, upload(np.asarray(rows), features.device))

    def _block(self, root: int) -> tuple[torch.Tensor, torch.Tensor]:
        config, block = self.head.config, self.head.config.block_size
        if sum(map(len, self._features)) > ROWS[-1]:  # lookup had many rounds in a row
            self._commit()
        # A block without new context has one row of padding.
        features = self._pending() if self._features else None
        fresh = 0 if features is None else len(features)
        known, rows = self._length + fresh, padded_rows(max(fresh, 1))
        self._make_room(known + block + rows)
        view = view_of(known + block, self._cache.capacity)
        inputs = self._inputs_for(rows, view)
        if features is not None:
            inputs.features[:fresh] = features
        inputs.tokens[0].fill_(root)
        inputs.known.fill_(known)
        # Positions of padding mean nothing; its slots lie behind the block.
        torch.arange(self._length, self._length + rows, out=inputs.positions[:rows])
        torch.arange(known, known + block, out=inputs.positions[rows:])
        inputs.slots.copy_(inputs.positions)
        if fresh < rows:
            torch.arange(known + block, known + block + rows - fresh, out=inputs.slots[fresh:rows])
        self._cache.set_slots(inputs.slots, view, config.num_hidden_layers)
        kernel = kernel_for_head(config, block, view, self.head.dtype, self._device)

        def run() -> tuple[torch.Tensor, torch.Tensor]:
            with preferring(kernel):
                return self._run(inputs, view)

        with self._stopwatch.running():
            out: tuple[torch.Tensor, torch.Tensor] = self._forwards.run((rows, view), run)
        self._cache.set_slots(None)
        self._length = known
        return out

    def _run(self, inputs: _Inputs, view: int) -> tuple[torch.Tensor, torch.Tensor]:
        head, block = self.head, self.head.config.block_size
        slots = torch.arange(view, device=self._device)
        inside = slots[None] < inputs.known + block
        rows = inputs.positions[-block:]
        masks = [inside & sight.of(rows, slots) for sight in head.config.sights]
        hidden = head(head.context(inputs.features), inputs.tokens, inputs.positions, self._cache, masks)
        states = head.predicting(hidden)
        return head.logits(states), states

    def _inputs_for(self, rows: int, view: int) -> _Inputs:
        if (rows, view) not in self._inputs_of:
            config = self.head.config
            with torch.inference_mode(False):
                numbers: dict[str, Any] = {"dtype": torch.int64, "device": self._device}
                width = len(config.feature_layers) * config.hidden_size
                self._inputs_of[rows, view] = _Inputs(
                    torch.zeros(rows, width, dtype=self.head.dtype, device=self._device),
                    torch.full((config.block_size,), config.mask_token, **numbers),
                    torch.zeros(rows + config.block_size, **numbers),
                    torch.zeros(rows + config.block_size, **numbers),
                    torch.zeros((), **numbers),
                )
        return self._inputs_of[rows, view]

    def _make_room(self, slots: int) -> None:
        """Make room for `slots`, and forget what was captured on buffers that have moved."""
        if self._cache.grow_to(slots):
            self._forget_captured()

    def _forget_captured(self) -> None:
        self._forwards.forget()
        self._inputs_of.clear()


class DeviceMarkovDrafter(DeviceBlockDrafter, MarkovDrafter):
    """`MarkovDrafter` as a `decoding.device.tree.DeviceDrafter`."""

    _product = False

    @torch.inference_mode()
    def propose_tensors(self, root: int, max_depth: int) -> DeviceTree | None:
        """See `DeviceDrafter.propose_tensors`."""
        depth = min(max_depth, self.head.config.drafted)
        if depth < 1 or not (self._length or self._features) or not self._grower.fits(depth):
            return None
        with phase(LEVEL):
            block = MarkovBlock(self.head, *self._block(root), root)

        def score(
            token: torch.Tensor, deep: IntArray, mask: BoolArray | torch.Tensor, above: torch.Tensor
        ) -> torch.Tensor:
            return block.descend(token, int(deep[0]), above)

        return self._grower.grow(depth, block.first, score)
