"""The attention kernel of captured forwards: the fastest of those that take a mask, timed once for each shape.

Left to itself torch takes the first that can run, in an order that does not ask for shapes.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from spectui.decoding.device.clock import Clock
from spectui.decoding.device.graphs import Graphs
from spectui.decoding.heads.config import LayerConfig

MASKED = (SDPBackend.EFFICIENT_ATTENTION, SDPBackend.CUDNN_ATTENTION)
"""CUDA's kernels that take a mask."""
CAUSAL = (SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH)
"""The order for prompts, which need no mask. Each prompt has a length of its own: nothing is timed for it."""
CALLS, LOOKS = 8, 5
"""Attentions in a row, as the layers of a forward call them, and the looks of which the fastest counts."""

log = logging.getLogger("spectui.device")


@dataclass(frozen=True)
class AttentionShape:
    """An attention of ``[1, heads, rows, width]`` over ``[1, heads, slots, width]`` under a mask."""

    heads: int
    """Of keys and values; query heads that share one are further rows."""
    rows: int
    slots: int
    width: int
    dtype: torch.dtype
    device: torch.device


def kernel_for_head(
    config: LayerConfig, rows: int, slots: int, dtype: torch.dtype, device: torch.device
) -> SDPBackend | None:
    """The kernel for `rows` of a draft head over `slots`; None where torch chooses: on a CPU, and for a module whose
    layer is the target family's own (MTP)."""
    if device.type != "cuda" or not hasattr(config, "num_attention_heads"):
        return None
    groups = config.num_attention_heads // config.num_key_value_heads
    shape = AttentionShape(config.num_key_value_heads, groups * rows, slots, config.head_dim, dtype, device)
    return fastest_kernel(shape)


@cache
def fastest_kernel(shape: AttentionShape, kernels: Sequence[SDPBackend] = MASKED) -> SDPBackend | None:
    """The one of `kernels` that takes the least time; None where none of them can run."""
    took = {kernel: ms for kernel in kernels if (ms := _milliseconds(shape, kernel)) is not None}
    best = min(took, key=took.__getitem__, default=None)
    log.debug("attention of %s: %s, as %s", shape, best, took)
    return best


@torch.inference_mode()
def _milliseconds(shape: AttentionShape, kernel: SDPBackend) -> float | None:
    """The time of one attention by `kernel`, replayed where anything is captured; None where it cannot run, or be
    captured."""
    as_model = torch.ones((), dtype=shape.dtype, device=shape.device)
    query = as_model.new_ones(1, shape.heads, shape.rows, shape.width)
    keys = as_model.new_ones(1, shape.heads, shape.slots, shape.width)
    mask = as_model.new_zeros(1, 1, shape.rows, shape.slots)

    def attend() -> torch.Tensor:
        outs = [scaled_dot_product_attention(query, keys, keys, attn_mask=mask) for _ in range(CALLS)]
        return outs[-1]

    with sdpa_kernel(kernel):
        try:
            attend()
        except RuntimeError as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            return None
        took = _timed(attend, shape.device)
    return None if took is None else min(took) / CALLS


def _timed(function: Callable[[], torch.Tensor], device: torch.device) -> list[float] | None:
    """Milliseconds of some looks; None where it cannot be captured, though others can."""
    graphs, clock, marks = Graphs(device, probe=True), Clock(device), []
    graphs.run("attention", function)
    if graphs.failed and Graphs.broken is None:
        return None
    for _ in range(LOOKS):
        start = clock.mark()
        graphs.run("attention", function)
        marks.append((start, clock.mark()))
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return [1e3 * clock.seconds(*pair) for pair in marks]


def preferring(kernel: SDPBackend | None) -> contextlib.AbstractContextManager[object]:
    """Inside, attention is `kernel`'s, or where a layer has a shape that it does not take, the next that does."""
    if kernel is None:
        return contextlib.nullcontext()
    return in_order([kernel, *MASKED, SDPBackend.MATH])


def in_order(kernels: Sequence[SDPBackend]) -> contextlib.AbstractContextManager[object]:
    """Inside, attention is done by the first of `kernels` that can."""
    return sdpa_kernel(list(dict.fromkeys(kernels)), set_priority=True)
