"""Durations of asynchronous device work: CUDA events on a GPU, the host's clock elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import torch


class Clock:
    """Marks points in the device's work without waiting for it."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._cuda = device, device.type == "cuda"

    def mark(self) -> Any:
        """A mark behind the work that the device has been given so far."""
        if not self._cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self._device))
        return event

    def seconds(self, start: Any, end: Any) -> float:
        """Seconds between two marks, which the device must have passed."""
        return float(start.elapsed_time(end)) / 1e3 if self._cuda else float(end - start)


class Stopwatch:
    """Adds up durations of device work, which are known when the device has come past it."""

    def __init__(self, device: torch.device, seconds: float = 0.0) -> None:
        self._device, self._clock = device, Clock(device)
        self._marks: list[tuple[Any, Any]] = []
        self._settled = seconds

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Inside, the device is given work whose time counts."""
        start = self._clock.mark()
        yield
        self._marks.append((start, self._clock.mark()))

    def settle(self) -> None:
        """Add up all work so far, which the device must have come past."""
        self._settled += sum(self._clock.seconds(*pair) for pair in self._marks)
        self._marks.clear()

    def seconds(self) -> float:
        """Seconds of all work so far; waits for the device where some of it may be under way."""
        if self._marks and self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        self.settle()
        return self._settled
