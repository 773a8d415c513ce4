"""A key/value cache that can hold a speculative tree and then keep only the accepted path.

One adapter over transformers' own models: they call `update` as on any cache and get back the filled
part of a preallocated buffer. Slots are written in the order tokens are fed, so a tree's nodes land
behind the committed prefix; `TreeCache.keep` moves the accepted ones together and forgets the rest.
After that slot equals position again, so the rotated keys need no second rotation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin

_GROWTH = 256
"""Slots added beyond what is asked for when the buffer is full."""


class TreeLayer(CacheLayerMixin):  # type: ignore[misc]
    """One layer's keys and values, each ``[1, heads, slots, head_dim]`` with `length` slots in use."""

    is_sliding = False

    def __init__(self, **_: object) -> None:
        super().__init__()
        self.length = 0

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Take type, device and head sizes from the first keys and values."""
        self.dtype, self.device = key_states.dtype, key_states.device
        self.keys = key_states.new_empty(*key_states.shape[:2], 0, key_states.shape[-1])
        self.values = value_states.new_empty(*value_states.shape[:2], 0, value_states.shape[-1])
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: object, **__: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append the slots of `key_states` and return views of all slots in use."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        end = self.length + key_states.shape[-2]
        self.reserve(end)
        self.keys[:, :, self.length : end] = key_states
        self.values[:, :, self.length : end] = value_states
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def reserve(self, slots: int) -> None:
        """Grow the buffers so that `slots` fit."""
        if slots <= self.keys.shape[-2]:
            return
        for name in ("keys", "values"):
            old = getattr(self, name)
            new = old.new_empty(*old.shape[:2], slots + _GROWTH, old.shape[-1])
            new[:, :, : self.length] = old[:, :, : self.length]
            setattr(self, name, new)

    def move(self, moves: Sequence[tuple[int, int]], length: int) -> None:
        """Copy slots ``(from, to)`` in order, then end at `length`."""
        self.length = length
        if self.is_initialized:
            for source, target in moves:
                self.keys[:, :, target] = self.keys[:, :, source]
                self.values[:, :, target] = self.values[:, :, source]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Key/value length the mask must cover, and its offset."""
        return self.length + query_length, 0

    def get_seq_length(self) -> int:
        """Slots in use."""
        return self.length

    def get_max_length(self) -> int:
        """-1: the buffer grows."""
        return -1

    def reset(self) -> None:
        """Forget every slot; the buffers stay."""
        self.length = 0


class TreeCache(Cache):  # type: ignore[misc]
    """A `TreeLayer` for every layer. A round appends (in the model's forward) and then keeps."""

    def __init__(self) -> None:
        super().__init__(layer_class_to_replicate=TreeLayer)
        self._joint: torch.Tensor | None = None
        """Keys and values of all layers in one buffer, see `_joined`."""

    @property
    def length(self) -> int:
        """Slots in use, committed or not."""
        return self.layers[0].length if self.layers else 0

    def set_length(self, length: int) -> None:
        """End at `length` slots, and forget those behind them."""
        for layer in self.layers:
            layer.move([], length)

    def keep(self, start: int, slots: Sequence[int]) -> None:
        """Keep the first `start` slots and, behind them, `slots`; drop all others.

        Raises `ValueError` unless `slots` ascends and lies within ``start .. length``.
        """
        if list(slots) != sorted(set(slots)) or (
            slots and not (start <= slots[0] and slots[-1] < self.length)
        ):
            raise ValueError(f"slots {list(slots)} do not ascend within {start}..{self.length - 1}")
        # Ascending slots never move onto one that is still to be read; most stay where they are.
        moves = [(slot, target) for target, slot in enumerate(slots, start) if slot != target]
        end = start + len(slots)
        if moves and (joint := self._joined()) is not None:
            for source, target in moves:
                joint[..., target, :] = joint[..., source, :]
            moves = []
        for layer in self.layers:
            layer.move(moves, end)

    def _joined(self) -> torch.Tensor | None:
        """``[layers, 2, 1, heads, slots, head_dim]`` that the buffers of all layers are views of.

        One copy then moves a slot, rather than two for each layer. Made when first needed, and again after buffers
        have grown. None where layers differ, and on a GPU, where the
        copy that makes it would need the cache's memory a second time.
        """
        layers: Any = self.layers
        first, last = layers[0], layers[-1]
        joint = self._joint
        if joint is not None and len(joint) == len(layers):
            ends = zip((joint[0, 0], joint[-1, 1]), (first.keys, last.values), strict=True)
            if all(view.data_ptr() == buffer.data_ptr() for view, buffer in ends):
                return joint
        shapes = {(x.shape, x.dtype, x.device.type) for layer in layers for x in (layer.keys, layer.values)}
        if len(shapes) > 1 or first.keys.device.type != "cpu":
            return None
        self._joint = joint = torch.stack([torch.stack([layer.keys, layer.values]) for layer in layers])
        for layer, (keys, values) in zip(layers, joint, strict=True):
            layer.keys, layer.values = keys, values
        return joint
