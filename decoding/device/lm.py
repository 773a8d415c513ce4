"""The draft-model drafter on the device: trees are grown without waiting for the device."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch

from spectui.decoding.device.graphs import Graphs
from spectui.decoding.device.growth import TreeGrower
from spectui.decoding.device.model import BufferedModel
from spectui.decoding.device.tree import DeviceTree
from spectui.decoding.drafters.lm import LMDrafter
from spectui.decoding.phases import LEVEL, phase
from spectui.decoding.trees.shape import BoolArray, IntArray


class DeviceLMDrafter(LMDrafter):
    """`LMDrafter` as a `decoding.device.tree.DeviceDrafter`."""

    _model: BufferedModel
    _model_class = BufferedModel
    _product = False
    """See `TreeGrower`."""

    @cached_property
    def grower(self) -> TreeGrower:
        """Grows its trees."""
        return TreeGrower(self._expander, self._model.device, product=self._product)

    @property
    def graphs(self) -> tuple[Graphs, ...]:
        """Everything that it captures."""
        return self._model.graphs, self._model.move_graphs, self.grower.graphs

    def reserve(self, tokens: int, context: int) -> None:
        """See `DeviceDrafter.reserve`."""
        self._model.reserve(min(tokens, context))

    @torch.inference_mode()
    def propose_tensors(self, root: int, max_depth: int) -> DeviceTree | None:
        """See `DeviceDrafter.propose_tensors`."""
        room = self._model.context - self._model.length - len(self._pending)
        depth = min(max_depth, room)
        if depth < 1 or not self._can_name(self._pending) or not self.grower.fits(depth):
            return None
        with phase(LEVEL):
            logits = self._feed_pending()
        return self.grower.grow(depth, logits, self._score_tensors)

    def set_slots(self, slots: Sequence[int]) -> None:
        """See `DeviceDrafter.set_slots`."""
        self._slot = {node: slot for node, slot in enumerate(slots) if slot >= 0}

    def settle(self) -> None:
        """See `DeviceDrafter.settle`."""
        self._model.settle()

    def _score_tensors(
        self, token: torch.Tensor, depth: IntArray, mask: BoolArray | torch.Tensor, above: torch.Tensor
    ) -> torch.Tensor:
        """See `decoding.device.tree.ScoreTensors`; a node's parent is found through the mask."""
        with phase(LEVEL):
            scored = self._model.append_tensors(token, depth - 1, mask)
        assert scored.logits is not None
        return scored.logits[:, : self._named]
