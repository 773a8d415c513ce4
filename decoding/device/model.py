"""A `LanguageModel` whose forwards have a few fixed sizes: trees padded to buckets, on caches that never move."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn.attention import SDPBackend

from spectui.decoding.device.attention import (
    CAUSAL,
    MASKED,
    AttentionShape,
    fastest_kernel,
    in_order,
    preferring,
)
from spectui.decoding.device.cache import BufferedCache, capacity_for, kinds_of, room_for
from spectui.decoding.device.clock import Stopwatch
from spectui.decoding.device.graphs import Graphs
from spectui.decoding.device.transfer import fill_visibility, pinned, upload
from spectui.decoding.target.language_model import LanguageModel, Scored
from spectui.decoding.target.rope import depends_on_length
from spectui.decoding.target.sizes import text_config
from spectui.decoding.trees.shape import BoolArray, IntArray

ROWS = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 520)
"""Sizes that the rows of a forward are padded to: a surplus row costs next to nothing, each size a capture."""


def padded_rows(rows: int) -> int:
    """The size in `ROWS` that `rows` are padded to. Raises `ValueError` for more than the largest."""
    for size in ROWS:
        if rows <= size:
            return size
    raise ValueError(f"{rows} rows are more than {ROWS[-1]}")


def view_of(slots: int, capacity: int) -> int:
    """Slots that a forward attends to when it needs `slots` of them."""
    return min(room_for(slots), capacity)


@dataclass(frozen=True)
class _Inputs:
    """Inputs of forwards of one size: the same tensors every time, as a captured graph needs them."""

    ids: torch.Tensor
    positions: torch.Tensor
    slots: torch.Tensor
    masks: Any
    """As transformers takes it: a tensor, or one per kind of layer."""
    kernel: SDPBackend | None
    """The attention's; None leaves it to torch."""


class BufferedModel(LanguageModel):
    """A `LanguageModel` whose `append_tensors` and `compact` do not wait for the device.

    Padding rows carry token 0, attend to the first slot alone, and write behind the real rows, where the next
    forward writes again. No real row ever attends to them.
    """

    def __init__(self, model: Any, feature_layers: Sequence[int] = ()) -> None:
        super().__init__(model, feature_layers)
        config = text_config(model.config)
        self._layers = int(config.num_hidden_layers)
        spread = len(set(map(str, getattr(model, "hf_device_map", {}).values()))) > 1
        self._cache: Any = BufferedCache(() if spread else kinds_of(config))
        refused = "the model is spread over several GPUs" if spread else ""
        self.move_graphs = Graphs(self.device, refused=refused)
        """Moves of accepted paths: apart, as they must not overwrite the last forward's logits."""
        if self._rotary is None and depends_on_length(config):
            refused = refused or "the model's rotary embedding reads positions on the host"
        self.graphs = Graphs(self.device, refused=refused)
        self.attention_kernels: tuple[SDPBackend, ...] = MASKED if self.device.type == "cuda" else ()
        """Those among which the fastest is taken for each size; without any, torch chooses."""
        heads = (
            None
            if getattr(config, "is_heterogeneous", False)
            else getattr(config, "num_attention_heads", None)
        )
        self._heads = (
            (int(heads), int(getattr(config, "head_dim", None) or config.hidden_size // heads))
            if isinstance(heads, int)
            else None
        )
        """Number and width of the query heads; None where layers differ in them."""
        self._inputs_of: dict[tuple[int, int], _Inputs] = {}
        self._moves: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        """Slots to move from and to, by their number: the same tensors every time."""

    @property
    def forward_seconds(self) -> float:
        """Time in the model; on a GPU waits for the work that it has been given."""
        return self._stopwatch.seconds()

    @forward_seconds.setter
    def forward_seconds(self, value: float) -> None:
        self._stopwatch = Stopwatch(self.device, value)

    def settle(self) -> None:
        """Take note that the device has come past all forwards."""
        self._stopwatch.settle()

    def reserve(self, tokens: int) -> None:
        """Forget the sequence, and make room for one of `tokens` and the rows behind it: buffers that moved later would
        void all that was captured."""
        if self._cache.renew(capacity_for(tokens, ROWS[-1], self.context)):
            self._forget_captured()
        self.reset()

    @torch.inference_mode()
    def prefill(self, tokens: Sequence[int], *, all_logits: bool = False) -> Scored:
        """See `LanguageModel.prefill`; of any size, never captured."""
        self._make_room(self.length + len(tokens))
        self._cache.set_slots(None)
        with in_order(CAUSAL) if self.device.type == "cuda" else contextlib.nullcontext():
            return super().prefill(tokens, all_logits=all_logits)

    @torch.inference_mode()
    def append(self, tokens: IntArray, depth: IntArray, mask: BoolArray) -> Scored:
        """See `LanguageModel.append`. Rows of earlier appends must still be uncommitted."""
        ids = upload(tokens, self.device)
        return self.append_tensors(ids, depth, mask)

    @torch.inference_mode()
    def append_tensors(
        self, ids: torch.Tensor, depth: IntArray | torch.Tensor, mask: BoolArray | torch.Tensor
    ) -> Scored:
        """As `append`, with the tokens ``[n]`` on the device; `depth` and `mask` may be there too, at the price of
        a wait where layers have a sliding window."""
        if isinstance(mask, torch.Tensor) and not self._masks_on_device:
            depth = depth.cpu().numpy() if isinstance(depth, torch.Tensor) else depth
            mask = mask.cpu().numpy()
        rows, seen = mask.shape
        padded = padded_rows(rows)
        first = self.length + seen - rows
        self._make_room(first + padded)
        view = view_of(first + padded, self._cache.capacity)
        inputs = self._inputs_for(padded, view)
        inputs.ids[0, :rows] = ids
        if isinstance(depth, torch.Tensor):
            inputs.positions.fill_(self.length)
            inputs.positions[0, :rows] += depth
        else:
            position = np.full(padded, self.length, dtype=np.int64)
            position[:rows] += depth
            self._fill(inputs.positions, position[None])
        torch.arange(first, first + padded, out=inputs.slots)
        self._fill_masks(inputs.masks, depth, mask)
        self._cache.set_slots(inputs.slots, view, self._layers)
        with self._stopwatch.running():
            logits, features = self.graphs.run((padded, view), lambda: self._forward(inputs))
        return Scored(logits[:rows], None if features is None else features[:rows].clone())

    @torch.inference_mode()
    def keep(self, slots: Sequence[int]) -> None:
        """See `LanguageModel.keep`."""
        moved = [(slot, to) for to, slot in enumerate(slots) if slot != to]
        if list(slots) != sorted(set(slots)):
            raise ValueError(f"slots {list(slots)} do not ascend")
        if moved:
            source, target = np.asarray(moved).T
            self._cache.gather(
                upload(source + self.length, self.device), upload(target + self.length, self.device)
            )
        self.commit(len(slots))

    @torch.inference_mode()
    def compact(self, slots: torch.Tensor) -> None:
        """Move uncommitted `slots` ``[k]``, numbered from 0, to the first k; `commit` follows."""
        count = len(slots)
        self._make_room(self.length + count)
        first_time = count not in self._moves
        if first_time:
            numbers: dict[str, Any] = {"dtype": torch.int64, "device": self.device}
            self._moves[count] = (torch.zeros(count, **numbers), torch.zeros(count, **numbers))
        source, target = self._moves[count]
        torch.arange(self.length, self.length + count, out=target)
        if first_time:  # captured by staying in place: moving twice would be moving on
            source.copy_(target)
            self.move_graphs.run(count, lambda: self._cache.gather(source, target))
        torch.add(slots, self.length, out=source)
        self.move_graphs.run(count, lambda: self._cache.gather(source, target))

    def commit(self, count: int) -> None:
        """The first `count` uncommitted slots are committed, the others forgotten."""
        self.length += count
        self._cache.set_length(self.length)

    def _forward(self, inputs: _Inputs) -> tuple[torch.Tensor, torch.Tensor | None]:
        with preferring(inputs.kernel), self._with_rotary(), self._capturing_inputs() as captured:
            logits = self.model(
                input_ids=inputs.ids,
                position_ids=inputs.positions,
                attention_mask=inputs.masks,
                past_key_values=self._cache,
                use_cache=True,
                logits_to_keep=0,
            ).logits[0]
        features = torch.cat([one[0].to(self.device) for one in captured], dim=-1) if captured else None
        return logits.float(), features

    def _make_room(self, slots: int) -> None:
        if self._cache.grow_to(slots):
            self._forget_captured()

    def _forget_captured(self) -> None:
        self.graphs.forget()
        self.move_graphs.forget()
        self._inputs_of.clear()
        self._moves.clear()

    def _inputs_for(self, rows: int, view: int) -> _Inputs:
        if (rows, view) not in self._inputs_of:
            with torch.inference_mode(False):
                numbers: dict[str, Any] = {"dtype": torch.int64, "device": self.device}
                shape = (1, 1, rows * self._groups, view)
                kind: dict[str, Any] = {
                    "dtype": self._dtype if self._additive else torch.bool,
                    "device": self.device,
                }
                kinds = sorted(self._layer_types)
                masks: Any = (
                    {name: torch.zeros(shape, **kind) for name in kinds}
                    if len(kinds) > 1
                    else torch.zeros(shape, **kind)
                )
                self._inputs_of[rows, view] = _Inputs(
                    torch.zeros(1, rows, **numbers),
                    torch.zeros(1, rows, **numbers),
                    torch.zeros(rows, **numbers),
                    masks,
                    self._fastest_kernel(rows, view),
                )
        return self._inputs_of[rows, view]

    def _fastest_kernel(self, rows: int, view: int) -> SDPBackend | None:
        if not self.attention_kernels or not self._heads:
            return None
        heads, width = self._heads
        shape = AttentionShape(
            heads // self._groups, rows * self._groups, view, width, self._dtype, self.device
        )
        return fastest_kernel(shape, self.attention_kernels)

    @property
    def _masks_on_device(self) -> bool:
        """True when masks can be made on the device: no layer has a sliding window, which the host cuts out."""
        return self._window is None or self._layer_types == {"full_attention"}

    def _fill_masks(self, masks: Any, depth: IntArray | torch.Tensor, mask: BoolArray | torch.Tensor) -> None:
        """Write what `LanguageModel._mask` returns into masks of fixed size, one or one per kind of layer."""
        by_kind = masks if isinstance(masks, dict) else {next(iter(self._layer_types), ""): masks}
        *_, folded, view = next(iter(by_kind.values())).shape
        padded = folded // self._groups
        if self._masks_on_device:
            allowed = torch.zeros(padded, view, dtype=torch.bool, device=self.device)
            seen = mask if isinstance(mask, torch.Tensor) else upload(mask, self.device)
            fill_visibility(allowed, self.length, seen)
            for tensor in by_kind.values():
                self._show(tensor, allowed)
            return
        assert isinstance(depth, np.ndarray)
        assert isinstance(mask, np.ndarray)
        rows, behind = mask.shape
        every = np.zeros((padded, view), dtype=np.bool_)
        every[:, 0] = True  # a row that attends to nothing would be NaN
        every[:rows, : self.length] = True
        every[:rows, self.length : self.length + behind] = mask
        for kind, tensor in by_kind.items():
            full = kind == "full_attention" or (len(by_kind) > 1 and kind != "sliding_attention")
            self._show(tensor, upload(every if full else self._narrow(every, depth, rows), self.device))

    def _show(self, mask: torch.Tensor, allowed: torch.Tensor) -> None:
        """Write booleans ``[rows, slots]`` in the attention's form: numbers to add, in rows repeated as by
        `attention.fold`, or as they are."""
        if self._additive:
            folded = mask.view(self._groups, *allowed.shape).fill_(torch.finfo(self._dtype).min)
            folded.masked_fill_(allowed, 0.0)
        else:
            mask.copy_(allowed)

    def _narrow(self, allowed: BoolArray, depth: IntArray, rows: int) -> BoolArray:
        out = allowed.copy()
        out[:rows] = self._slide(allowed[:rows], depth)
        return out

    def _fill(self, tensor: torch.Tensor, values: Any) -> None:
        """Write `values` into a tensor of the device without waiting for it."""
        tensor.copy_(pinned(values, self.device), non_blocking=True)
