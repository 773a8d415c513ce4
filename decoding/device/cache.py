"""A key/value cache in buffers that do not move, written and read at fixed sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers.cache_utils import Cache

from spectui.decoding.target.cache import TreeLayer

FIRST_CAPACITY = 1024
"""Slots at first. Forwards are captured anew when a sequence outgrows them."""
STEP = 256
"""Sizes of buffers, and of their parts that a forward attends to, are multiples of it."""


def room_for(slots: int) -> int:
    """The size that holds `slots`: a multiple of `STEP`, above 1,024 half as large again as the size before."""
    size = STEP
    while size < slots:
        size = -(-max(size + STEP, size * 3 // 2 if size >= 4 * STEP else 0) // STEP) * STEP
    return size


def capacity_for(sequence: int, behind: int, context: int) -> int:
    """Slots for a sequence of at most `sequence` tokens with `behind` slots behind it, in a model's `context`."""
    most = -(-(context + behind) // STEP) * STEP
    return min(room_for(min(sequence, context) + behind), most)


class BufferedLayer(TreeLayer):
    """A `TreeLayer` of a `BufferedCache`, which can also write at given slots and return a fixed number of them.

    `slots` ``[R]`` and `view` are set for forwards of fixed size; without `slots` it appends as `TreeLayer` does.
    """

    def __init__(self, cache: BufferedCache) -> None:
        super().__init__()
        self.cache, self.index = cache, len(cache.layers)
        self.joined = False
        """True where keys and values are views of `BufferedCache.joint`."""
        self.slots: torch.Tensor | None = None
        self.view = 0

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Take buffers for keys and values like these, with zeros: a masked NaN would still spread."""
        self.dtype, self.device = key_states.dtype, key_states.device
        views = self.cache.views_for(self.index, key_states, value_states)
        self.joined = views is not None
        self.keys, self.values = views or [
            states.new_zeros(*states.shape[:2], self.cache.capacity, states.shape[-1])
            for states in (key_states, value_states)
        ]
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *rest: object, **named: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write at `slots` and return the first `view` slots, or append."""
        if self.slots is None:
            return super().update(key_states, value_states, *rest, **named)
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        slots = self.slots if self.slots.device == self.keys.device else self.slots.to(self.keys.device)
        self.keys.index_copy_(2, slots, key_states)
        self.values.index_copy_(2, slots, value_states)
        return self.keys[:, :, : self.view], self.values[:, :, : self.view]

    def reserve(self, slots: int) -> None:
        """Make room in the whole cache."""
        self.cache.grow_to(slots)

    @torch.inference_mode()
    def reset(self) -> None:
        """Forget every slot. The buffers stay and are zeroed: a masked NaN would still spread."""
        super().reset()
        if self.is_initialized:
            self.keys.zero_()
            self.values.zero_()


class BufferedCache(Cache):  # type: ignore[misc]
    """A `BufferedLayer` for every layer.

    `kinds` has a name for each layer that keeps keys and values. Layers of one kind share a buffer, so that accepted
    slots are moved in all of them at once; those that differ from the first of their kind have buffers of their own,
    as have all without `kinds`.
    """

    def __init__(self, kinds: Sequence[str] = ()) -> None:
        super().__init__(layer_class_to_replicate=self._make_layer)
        self._kinds = tuple(kinds)
        self.capacity = FIRST_CAPACITY
        self.joint: dict[str, torch.Tensor] = {}
        """By kind: ``[layers, 2, 1, heads, slots, head_dim]``, keys and values of all its layers."""

    def _make_layer(self) -> BufferedLayer:
        return BufferedLayer(self)

    @property
    def length(self) -> int:
        """Committed slots."""
        return self.layers[0].length if self.layers else 0

    def views_for(
        self, index: int, key_states: torch.Tensor, value_states: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Views of the joint buffer for a layer with such keys and values; None where it does not go with them."""
        if index >= len(self._kinds) or key_states.shape != value_states.shape:
            return None
        kind, (*outer, _, width) = self._kinds[index], key_states.shape
        if kind not in self.joint:
            layers = self._kinds.count(kind)
            self.joint[kind] = key_states.new_zeros(layers, 2, *outer, self.capacity, width)
        joint = self.joint[kind]
        alike = (joint.dtype, joint.device) == (key_states.dtype, key_states.device)
        if not alike or [*joint.shape[2:-2], joint.shape[-1]] != [*outer, width]:
            return None
        return self._views_in(joint, index)

    def _views_in(self, joint: torch.Tensor, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        of_layer = joint[self._kinds[:index].count(self._kinds[index])]
        return of_layer[0], of_layer[1]

    def renew(self, slots: int) -> bool:
        """Make room for `slots` in buffers that the next forward allocates, after these are freed with all that is in
        them; returns False where they are large enough, and stay."""
        if slots <= self.capacity:
            return False
        self.capacity = slots
        self.joint.clear()
        self.layers.clear()
        return True

    def grow_to(self, slots: int) -> bool:
        """Make room for `slots`; returns True when the buffers moved."""
        if slots <= self.capacity:
            return False
        self.capacity = room_for(slots)
        for kind, joint in self.joint.items():
            self.joint[kind] = self._larger(joint)
        for layer in self.layers:
            if layer.joined:
                layer.keys, layer.values = self._views_in(self.joint[self._kinds[layer.index]], layer.index)
            elif layer.is_initialized:
                layer.keys, layer.values = self._larger(layer.keys), self._larger(layer.values)
        return True

    def _larger(self, old: torch.Tensor) -> torch.Tensor:
        """A buffer of `capacity` slots with those of `old`, uncommitted ones too: it may grow amid a tree."""
        new = old.new_zeros(*old.shape[:-2], self.capacity, old.shape[-1])
        new[..., : old.shape[-2], :] = old
        return new

    def set_slots(self, slots: torch.Tensor | None, view: int = 0, layers: int = 0) -> None:
        """Until the next call, forwards write at `slots` and see `view` slots; with None they append."""
        while slots is not None and len(self.layers) < layers:
            self.layers.append(self._make_layer())
        for layer in self.layers:
            layer.slots, layer.view = slots, view

    def set_length(self, length: int) -> None:
        """End at `length` committed slots."""
        for layer in self.layers:
            layer.length = length

    def gather(self, source: torch.Tensor, target: torch.Tensor) -> None:
        """Copy slots `source` ``[k]`` to `target` ``[k]``, all read before any is written."""
        alone = [layer for layer in self.layers if layer.is_initialized and not layer.joined]
        for buffer in (
            *self.joint.values(),
            *(part for layer in alone for part in (layer.keys, layer.values)),
        ):
            moved = buffer.index_select(-2, source.to(buffer.device))
            buffer.index_copy_(-2, target.to(buffer.device), moved)


def kinds_of(config: Any) -> tuple[str, ...]:
    """The kind of each layer of a text model that keeps keys and values; layers of one kind have them in one shape.

    Empty where each layer has sizes of its own.
    """
    if getattr(config, "is_heterogeneous", False):
        return ()
    layers = int(config.num_hidden_layers)
    kinds = list(getattr(config, "layer_types", None) or ()) or ["full_attention"] * layers
    return tuple(kinds[: layers - int(getattr(config, "num_kv_shared_layers", 0) or 0)])
