"""The DFlash drafter on the device: context and block in one forward of fixed size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from spectui.decoding.device.attention import kernel_for_head, preferring
from spectui.decoding.device.head import DeviceHeadDrafter
from spectui.decoding.device.model import ROWS, padded_rows, view_of
from spectui.decoding.device.tree import DeviceTree
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


class DeviceBlockDrafter(DeviceHeadDrafter, BlockDrafter):
    """`BlockDrafter` as a `decoding.device.tree.DeviceDrafter`.

    Padding rows of the context write behind the block, where no row attends to.
    """

    _inputs_of: dict[tuple[int, int], _Inputs]
    _product = True

    @torch.inference_mode()
    def propose_tensors(self, root: int, max_depth: int) -> DeviceTree | None:
        """See `DeviceDrafter.propose_tensors`."""
        depth = min(max_depth, self.head.config.drafted)
        if depth < 1 or not (self._length or self._features) or not self._grower.fits(depth):
            return None
        with phase(LEVEL):
            logits, _ = self._block(root)
        return self._grower.grow_product(depth, logits)

    @property
    def _behind(self) -> int:
        return super()._behind + self.head.config.block_size

    def _commit(self) -> None:
        self._make_room(self._length + sum(map(len, self._features)))
        super()._commit()

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

        return self._grower.grow(depth, block.first, score, block.confidence)
