"""Times of work that a device does later: events on a GPU, the clock elsewhere. Nothing waits until it is asked."""

from __future__ import annotations

import time
from typing import Any

import torch


class Clock:
    """Marks points in the device's work."""

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"

    def mark(self) -> Any:
        """Now, in the order of the device's work."""
        if not self._cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    def seconds(self, start: Any, end: Any) -> float:
        """Between two marks; the device must have come past both."""
        return float(start.elapsed_time(end)) / 1e3 if self._cuda else float(end - start)
