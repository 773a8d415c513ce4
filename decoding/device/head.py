"""The base of drafters with a head on the device: what is captured, the room in the cache, the time that it took."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from spectui.decoding.device.cache import BufferedCache, capacity_for
from spectui.decoding.device.clock import Stopwatch
from spectui.decoding.device.graphs import Graphs
from spectui.decoding.device.growth import TreeGrower
from spectui.decoding.device.model import ROWS
from spectui.decoding.device.transfer import upload
from spectui.decoding.drafters.base import Setup
from spectui.decoding.drafters.head import HeadDrafter


class DeviceHeadDrafter(HeadDrafter):
    """The part of a `decoding.device.tree.DeviceDrafter` that heads of all kinds share."""

    _cache: BufferedCache
    _product = False
    """See `TreeGrower`."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self._cache = BufferedCache()
        self._grower = TreeGrower(self._expander, self._device, self.head.draft_ids, product=self._product)
        self._forwards = Graphs(self._device)
        self._inputs_of: dict[Any, Any] = {}
        """Inputs of forwards by their sizes."""
        self._stopwatch = Stopwatch(self._device)

    @property
    def graphs(self) -> tuple[Graphs, ...]:
        """Everything that it captures."""
        return self._forwards, self._grower.graphs

    def reserve(self, tokens: int, context: int) -> None:
        """See `DeviceDrafter.reserve`."""
        if self._cache.renew(capacity_for(tokens, self._behind, context)):
            self._forget_captured()

    @property
    def _behind(self) -> int:
        """Most slots behind the committed positions, of a round and of padding."""
        return ROWS[-1]

    def set_slots(self, slots: Sequence[int]) -> None:
        """Nothing to remember: the tree's keys and values are dropped."""

    def seconds_in_models(self) -> float:
        """Time spent in the head's forwards; on a GPU waits for the work that it has been given."""
        return self._seconds + self._stopwatch.seconds()

    def settle(self) -> None:
        """See `DeviceDrafter.settle`."""
        self._stopwatch.settle()

    def _pick(self, features: torch.Tensor, rows: list[int]) -> torch.Tensor:
        return features.index_select(0, upload(np.asarray(rows), features.device))

    def _make_room(self, slots: int) -> None:
        """Make room for `slots`, and forget what was captured on buffers that have moved."""
        if self._cache.grow_to(slots):
            self._forget_captured()

    def _forget_captured(self) -> None:
        self._forwards.forget()
        self._inputs_of.clear()
