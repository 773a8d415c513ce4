"""Least duration of a forward: the bytes of its weights over the memory bandwidth, measured on the spot."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import torch

from spectui.decoding.device.clock import Clock
from spectui.decoding.eagle.head import EagleHead
from spectui.decoding.models.placement import free_bytes
from spectui.decoding.target.packed import HalfLinear, PackedLinear

PASSES, WARM_UPS = 9, 2
BYTES = 2**28
"""Of the buffers that bandwidth is measured with: far more than caches hold; less where memory is short."""
LEAST_BYTES = 2**22


def bandwidth(device: torch.device, count: int = BYTES) -> float:
    """Bytes a second that the device reads, or reads and writes, whichever is faster."""
    count = max(min(count, free_bytes(device) // 8), LEAST_BYTES) // 4
    a = torch.zeros(count, dtype=torch.float32, device=device)
    b = torch.empty_like(a)
    with torch.inference_mode():
        copied = 2 * a.nbytes / (1e-3 * median_ms(device, lambda: b.copy_(a)))
        read = a.nbytes / (1e-3 * median_ms(device, lambda: a.sum()))
    return max(copied, read)


def median_ms(device: torch.device, work: Callable[[], object]) -> float:
    """Milliseconds of `work` on `device`, the median of `PASSES`."""
    clock, times = Clock(device), []
    for done in range(PASSES + WARM_UPS):
        start = clock.mark()
        work()
        end = clock.mark()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if done >= WARM_UPS:
            times.append(1e3 * clock.seconds(start, end))
    return statistics.median(times)


def weight_bytes(model: Any) -> int:
    """Bytes that a forward of a model or head reads: all weights but the embedding, of which it takes a few rows."""
    embedding = model.own_embedding if isinstance(model, EagleHead) else model.get_input_embeddings()
    total = 0
    for module in model.modules():
        if module is embedding:
            continue
        if isinstance(module, HalfLinear | PackedLinear):
            width = 2 if isinstance(module, HalfLinear) else 4
            total += width * module.in_features * module.out_features
        tensors = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
        total += sum(tensor.nbytes for tensor in tensors)
    return total


def floor_ms(model: Any, bytes_per_second: float) -> float:
    """Least milliseconds of a forward, whatever its rows."""
    return 1e3 * weight_bytes(model) / bytes_per_second
