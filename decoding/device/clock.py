"""Durations of asynchronous device work: CUDA events on a GPU, the host's clock elsewhere."""

from __future__ import annotations

import time
from typing import Any

import torch


class Clock:
    """Marks points in the device's work without waiting for it."""

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"

    def mark(self) -> Any:
        """A mark behind the work that the device has been given so far."""
        if not self._cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    def seconds(self, start: Any, end: Any) -> float:
        """Seconds between two marks, which the device must have passed."""
        return float(start.elapsed_time(end)) / 1e3 if self._cuda else float(end - start)
