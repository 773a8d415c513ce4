"""Drafters that predict all depths in one forward, on the device: P-EAGLE heads and PARD models."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from spectui.decoding.device.eagle import DeviceEagleDrafter
from spectui.decoding.device.lm import DeviceLMDrafter
from spectui.decoding.device.transfer import upload
from spectui.decoding.device.tree import DeviceTree
from spectui.decoding.drafters.parallel_eagle import ParallelEagleDrafter
from spectui.decoding.drafters.parallel_lm import ParallelLMDrafter
from spectui.decoding.phases import LEVEL, phase
from spectui.decoding.target.language_model import PREFILL_CHUNK


class DeviceParallelEagleDrafter(DeviceEagleDrafter, ParallelEagleDrafter):
    """`ParallelEagleDrafter` as a `decoding.device.tree.DeviceDrafter`."""

    _product = True

    @torch.inference_mode()
    def propose_tensors(self, root: int, max_depth: int) -> DeviceTree | None:
        """See `DeviceDrafter.propose_tensors`."""
        if max_depth < 1 or not self._tokens or not self._grower.fits(max_depth):
            return None
        with phase(LEVEL):
            logits = self._all_depths()
        return self._grower.grow_product(max_depth, logits)

    def _all_depths(self) -> torch.Tensor:
        depth = self._expander.shape.max_depth
        if len(self._tokens) + depth > PREFILL_CHUNK:  # lookup had many rounds in a row
            self._cache.set_length(self._length)
            self._commit()
        tokens, features = self._with_masks(depth - 1)
        rows = len(tokens)
        ids = upload(np.asarray(tokens, dtype=np.int64), self._device)
        _, logits = self._forward(True, ids, features, np.arange(rows), np.tri(rows, dtype=np.bool_), depth)
        self._length += rows - depth + 1
        return logits


class DeviceParallelLMDrafter(DeviceLMDrafter, ParallelLMDrafter):
    """`ParallelLMDrafter` as a `decoding.device.tree.DeviceDrafter`."""

    _product = True

    @torch.inference_mode()
    def propose_tensors(self, root: int, max_depth: int) -> DeviceTree | None:
        """See `DeviceDrafter.propose_tensors`."""
        depth = self._depth(max_depth)
        if depth < 1 or not self.grower.fits(depth):
            return None
        with phase(LEVEL):
            logits = self._all_depths(depth)
        return self.grower.grow_product(depth, logits)

    def set_slots(self, slots: Sequence[int]) -> None:
        """Nothing to remember: no node is fed to the draft."""
