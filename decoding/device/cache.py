"""A key/value cache in buffers that do not move, written and read at fixed sizes."""

from __future__ import annotations

import torch
from transformers.cache_utils import Cache

from spectui.decoding.target.cache import TreeLayer

FIRST_CAPACITY = 1024
"""Slots at first; doubled when a sequence outgrows them, and forwards are captured anew then."""


class BufferedLayer(TreeLayer):
    """A `TreeLayer` that can also write at given slots and return a fixed number of them.

    `slots` ``[R]`` and `view` are set for forwards of fixed size; without `slots` it appends as `TreeLayer` does.
    """

    def __init__(self, **_: object) -> None:
        super().__init__()
        self.slots: torch.Tensor | None = None
        self.view = 0
        self.capacity = FIRST_CAPACITY

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *rest: object, **named: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write at `slots` and return the first `view` slots, or append."""
        if self.slots is None:
            return super().update(key_states, value_states, *rest, **named)
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.reserve(self.capacity)
        slots = self.slots if self.slots.device == self.keys.device else self.slots.to(self.keys.device)
        self.keys.index_copy_(2, slots, key_states)
        self.values.index_copy_(2, slots, value_states)
        return self.keys[:, :, : self.view], self.values[:, :, : self.view]

    def reserve(self, slots: int) -> None:
        """Grow to `capacity` slots, with zeros where nothing was written: a masked NaN would still spread."""
        if max(slots, self.capacity) <= self.keys.shape[-2]:
            return
        for name in ("keys", "values"):
            old = getattr(self, name)
            new = old.new_zeros(*old.shape[:2], max(slots, self.capacity), old.shape[-1])
            new[:, :, : old.shape[-2]] = (
                old  # uncommitted slots too: it may grow between two levels of a tree
            )
            setattr(self, name, new)

    @torch.inference_mode()
    def reset(self) -> None:
        """Forget every slot. The buffers stay and are zeroed: a masked NaN would still spread."""
        super().reset()
        if self.is_initialized:
            self.keys.zero_()
            self.values.zero_()

    def gather(self, source: torch.Tensor, target: torch.Tensor) -> None:
        """Copy slots `source` ``[k]`` to `target` ``[k]``, all read before any is written."""
        if self.is_initialized:
            source, target = source.to(self.keys.device), target.to(self.keys.device)
            self.keys.index_copy_(2, target, self.keys.index_select(2, source))
            self.values.index_copy_(2, target, self.values.index_select(2, source))


class BufferedCache(Cache):  # type: ignore[misc]
    """`BufferedLayer` for every layer."""

    def __init__(self) -> None:
        super().__init__(layer_class_to_replicate=BufferedLayer)
        self.capacity = FIRST_CAPACITY

    @property
    def length(self) -> int:
        """Committed slots."""
        return self.layers[0].length if self.layers else 0

    def grow_to(self, slots: int) -> bool:
        """Make room for `slots`; returns True when the buffers moved."""
        if slots <= self.capacity:
            return False
        while self.capacity < slots:
            self.capacity *= 2
        for layer in self.layers:
            layer.capacity = self.capacity
            if layer.is_initialized:
                layer.reserve(self.capacity)
        return True

    def set_slots(self, slots: torch.Tensor | None, view: int = 0, layers: int = 0) -> None:
        """Until the next call, forwards write at `slots` and see `view` slots; with None they append."""
        while slots is not None and len(self.layers) < layers:
            self.layers.append(self.layer_class_to_replicate())
            self.layers[-1].capacity = self.capacity
        for layer in self.layers:
            layer.slots, layer.view, layer.capacity = slots, view, self.capacity
            if slots is not None and layer.is_initialized:
                layer.reserve(self.capacity)  # a first prompt longer than the first buffers made its own

    def set_length(self, length: int) -> None:
        """End at `length` committed slots."""
        for layer in self.layers:
            layer.length = length

    def gather(self, source: torch.Tensor, target: torch.Tensor) -> None:
        """See `BufferedLayer.gather`."""
        for layer in self.layers:
            layer.gather(source, target)
