"""The EAGLE-3 drafter on the device: forwards of fixed sizes, trees grown without waiting for the device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from spectui.decoding.device.attention import kernel_for_head, preferring
from spectui.decoding.device.head import DeviceHeadDrafter
from spectui.decoding.device.model import padded_rows, view_of
from spectui.decoding.device.transfer import fill_visibility, pinned, upload
from spectui.decoding.device.tree import DeviceTree
from spectui.decoding.drafters.eagle import EagleDrafter
from spectui.decoding.phases import LEVEL, phase
from spectui.decoding.target.language_model import PREFILL_CHUNK
from spectui.decoding.trees.shape import BoolArray, IntArray


@dataclass(frozen=True)
class _Inputs:
    """Inputs of forwards of one size: the same tensors every time, as a captured graph needs them."""

    ids: torch.Tensor
    states: torch.Tensor
    """Features of the target, or the head's own states."""
    positions: torch.Tensor
    slots: torch.Tensor
    mask: torch.Tensor
    row: torch.Tensor
    """Rows of the pairs that the tree grows from."""


class DeviceEagleDrafter(DeviceHeadDrafter, EagleDrafter):
    """`EagleDrafter` as a `decoding.device.tree.DeviceDrafter`.

    Padding rows carry token 0, look at the first slot alone, and write behind the real rows, as in `BufferedModel`.
    """

    _inputs_of: dict[tuple[bool, int, int, int], _Inputs]

    @torch.inference_mode()
    def propose_tensors(self, root: int, max_depth: int) -> DeviceTree | None:
        """See `DeviceDrafter.propose_tensors`."""
        if max_depth < 1 or not self._tokens or not self._grower.fits(max_depth):
            return None
        with phase(LEVEL):
            logits = self._feed_pairs()
        return self._grower.grow(max_depth, logits, self._score_tensors)

    def _feed_pending(self, count: int) -> None:
        self._make_room(self._length + count)
        super()._feed_pending(count)

    def _feed_pairs(self) -> torch.Tensor:
        """Commit all pending pairs; the logits ``[1, W]`` that the tree grows from."""
        if len(self._tokens) > PREFILL_CHUNK:  # lookup had many rounds in a row
            self._cache.set_length(self._length)
            self._commit()
        count = len(self._tokens)
        hidden, logits = self._forward(
            True,
            upload(np.asarray(self._tokens, dtype=np.int64), self._device),
            self._pending(),
            np.arange(count),
            np.tri(count, dtype=np.bool_),
        )
        self._hidden = hidden[count - 1 : count]
        self._length += count
        self._tokens = []
        return logits

    def _score_tensors(
        self, token: torch.Tensor, depth: IntArray, mask: BoolArray | torch.Tensor, above: torch.Tensor
    ) -> torch.Tensor:
        """See `decoding.device.tree.ScoreTensors`."""
        with phase(LEVEL):
            self._hidden, logits = self._forward(False, token, self._hidden[above], depth - 1, mask)
        return logits

    def _forward(
        self,
        pairs: bool,
        ids: torch.Tensor,
        states: torch.Tensor,
        depth: IntArray,
        mask: BoolArray | torch.Tensor,
        last: int = 1,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """States ``[n, H]`` and float32 logits of n pairs behind those in the cache: of the target's features and the
        logits of the `last` ones, or of the head's own states and the logits of all."""
        rows, seen = mask.shape
        padded = padded_rows(rows)
        first = self._length + seen - rows
        self._make_room(first + padded)
        view = view_of(first + padded, self._cache.capacity)
        inputs = self._inputs_for(pairs, padded, view, states, last)
        inputs.ids[:rows] = ids
        inputs.states[:rows] = states
        position = np.full(padded, self._length, dtype=np.int64)
        position[:rows] += depth
        inputs.positions.copy_(pinned(position, self._device), non_blocking=True)
        torch.arange(first, first + padded, out=inputs.slots)
        torch.arange(rows - last, rows, out=inputs.row)
        fill_visibility(
            inputs.mask, self._length, mask if isinstance(mask, torch.Tensor) else upload(mask, self._device)
        )
        self._cache.set_slots(inputs.slots, view, self.head.config.num_hidden_layers)
        kernel = kernel_for_head(self.head.config, padded, view, self.head.dtype, self._device)

        def run() -> tuple[torch.Tensor, torch.Tensor]:
            with preferring(kernel):
                return self._run(pairs, inputs)

        with self._stopwatch.running():
            hidden, logits = self._forwards.run((pairs, padded, view, last), run)
        self._cache.set_slots(None)
        return hidden[:rows], logits if pairs else logits[:rows]

    def _run(self, pairs: bool, inputs: _Inputs) -> tuple[torch.Tensor, torch.Tensor]:
        head = self.head
        states = head.fuse(inputs.states) if pairs else head.carry(inputs.states)
        hidden = head(inputs.ids, states, inputs.positions, self._cache, inputs.mask)
        last = hidden.index_select(0, inputs.row) if pairs else hidden
        return hidden, head.logits(last).float()

    def _inputs_for(self, pairs: bool, rows: int, view: int, states: torch.Tensor, last: int) -> _Inputs:
        key = (pairs, rows, view, last)
        if key not in self._inputs_of:
            with torch.inference_mode(False):
                numbers: dict[str, Any] = {"dtype": torch.int64, "device": self._device}
                self._inputs_of[key] = _Inputs(
                    torch.zeros(rows, **numbers),
                    torch.zeros(rows, states.shape[1], dtype=states.dtype, device=self._device),
                    torch.zeros(rows, **numbers),
                    torch.zeros(rows, **numbers),
                    torch.zeros(rows, view, dtype=torch.bool, device=self._device),
                    torch.zeros(last, **numbers),
                )
        return self._inputs_of[key]
