"""A fake machine with GPUs: its state, and its stand-ins for `torch.cuda`."""

from __future__ import annotations

import warnings
import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import pytest
import torch

from spectui.decoding.device.graphs import Graphs
from tests.fake_gpu.graphs import FakeEvent, FakeGenerator, FakeGraph, FakeStream, Pool, StreamContext
from tests.fake_gpu.seen import (
    NOT_PERMITTED,
    PAGEABLE,
    PINNED,
    PROTOTYPE,
    SYNCHRONISING,
    WAIT,
    Seen,
    place_of_call,
)
from tests.fake_gpu.tensors import DeviceTensor, Dispatch, enter, is_pinned, leave, wrapped

MEMORY = 16_000_000_000
"""Bytes of each GPU, all of them free."""


@dataclass
class FakeGpu:
    """One fake machine with some GPUs. Enter it, `move` models onto it, use them, and look at what it saw."""

    gpus: int = 1
    seen: Counter[Seen] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    captures: int = 0
    replays: int = 0
    streams: int = 0
    workspaces: int = 0
    events: weakref.WeakSet[FakeEvent] = field(default_factory=weakref.WeakSet)
    """Those that are kept."""
    underway: int = 0
    """Captures that the allocator takes for unfinished."""
    modes: set[str] = field(default_factory=set)
    """Modes that captures were begun in."""
    capture: FakeGraph | None = None
    work: int = 0
    """Pieces of work that the device was given."""
    passed: int = 0
    """Those that the host has waited for."""

    def __post_init__(self) -> None:
        self._current: dict[int, FakeStream] = {}
        self.device = 0
        self.sync_debug_mode = 0

    def __enter__(self) -> Self:
        enter(self)
        self._patch = patch = pytest.MonkeyPatch()
        cuda = torch.cuda
        stand_ins: dict[str, Any] = {
            "is_available": lambda: True, "device_count": lambda: self.gpus, "mem_get_info": lambda _: (MEMORY, MEMORY),
            "get_device_name": lambda _: "a fake GPU", "current_device": lambda: self.device,
            "set_device": self.set_device, "device": self.on_device, "synchronize": self.synchronize,
            "current_stream": self.current_stream, "set_stream": self.set_stream, "stream": StreamContext,
            "Stream": FakeStream, "Event": FakeEvent, "CUDAGraph": FakeGraph, "graph_pool_handle": Pool,
            "set_sync_debug_mode": self.set_sync_debug_mode, "get_sync_debug_mode": lambda: self.sync_debug_mode,
            "empty_cache": lambda: None, "_lazy_init": lambda: None,
        }  # fmt: skip
        for name, stand_in in stand_ins.items():
            patch.setattr(cuda, name, stand_in)
        patch.setattr(cuda.graph, "default_capture_stream", None)
        patch.setattr(torch._C, "_host_emptyCache", lambda: None, raising=False)
        patch.setattr(torch._C, "_cuda_releasePool", lambda *_: None)
        patch.setattr(torch._C, "_cuda_endAllocateToPool", self.end_allocation)
        patch.setattr(Graphs, "broken", None)
        patch.setattr(Graphs, "_streams", {})
        patch.setattr(torch, "Generator", FakeGenerator)
        torch._C._set_only_lift_cpu_tensors(True)
        self._mode = Dispatch()  # type: ignore[no-untyped-call]
        self._mode.__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._mode.__exit__(kind, error, trace)  # type: ignore[no-untyped-call]
        torch._C._set_only_lift_cpu_tensors(False)
        self._patch.undo()
        leave()

    def move(self, module: torch.nn.Module, gpu: int = 0) -> None:
        """Bring a model or a head to the device; its numbers stay those of the host's."""

        def moved(tensor: torch.Tensor) -> DeviceTensor:
            return wrapped(tensor.detach(), gpu)

        for part in module.modules():
            for name, parameter in part._parameters.items():
                if parameter is not None and not isinstance(parameter, DeviceTensor):
                    part._parameters[name] = torch.nn.Parameter(moved(parameter), requires_grad=False)
            for name, buffer in part._buffers.items():
                if buffer is not None and not isinstance(buffer, DeviceTensor):
                    part._buffers[name] = moved(buffer)

    def count(self, kind: str) -> int:
        """Times that `kind` was seen."""
        return sum(times for seen, times in self.seen.items() if seen.kind == kind)

    def wait(self, operation: str) -> None:
        """The host waits for the device."""
        self.note(WAIT, operation)
        if self.sync_debug_mode == 1:
            warnings.warn(SYNCHRONISING, UserWarning, stacklevel=2)
        if self.sync_debug_mode == 2:
            raise RuntimeError(SYNCHRONISING)
        self.passed = self.work

    def note(self, kind: str, operation: str) -> None:
        """Remember it; raises `RuntimeError` inside a capture, where none of this may be."""
        self.seen[Seen(kind, operation, place_of_call(), self.capture is not None)] += 1
        if self.capture is not None:
            self.capture.invalid = True
            raise RuntimeError(NOT_PERMITTED)

    def upload(self, operation: str, tensor: torch.Tensor, *, non_blocking: bool) -> None:
        """A tensor of the host is copied to the device."""
        self.note(PINNED if is_pinned(tensor) else PAGEABLE, operation)
        if not non_blocking:
            self.wait(operation)

    def index_of(self, device: Any) -> int:
        """Number of a device, the current one without any."""
        if isinstance(device, int):
            return device
        index = None if device is None else torch.device(device).index
        return self.device if index is None else index

    def current_stream(self, device: Any = None) -> FakeStream:
        index = self.index_of(device)
        if index not in self._current:
            self._current[index] = FakeStream(index)
        return self._current[index]

    def end_allocation(self, device: int, pool: Pool) -> None:
        if not pool.allocating:
            raise RuntimeError("endAllocatePool: not currently recording to mempool_id")
        pool.allocating = False
        self.underway -= 1

    @property
    def in_use(self) -> list[FakeStream]:
        """Streams that something was asked of or done on, one for each GPU."""
        return list(self._current.values())

    def set_stream(self, stream: FakeStream) -> None:
        self._current[stream.device.index] = stream
        self.device = stream.device.index

    @contextmanager
    def on_device(self, device: Any) -> Iterator[None]:
        before, self.device = self.device, self.index_of(device)
        try:
            yield
        finally:
            self.device = before

    def set_device(self, device: Any) -> None:
        self.device = self.index_of(device)

    def synchronize(self, device: Any = None) -> None:
        self.wait("synchronize")

    def set_sync_debug_mode(self, mode: str | int) -> None:
        if mode not in (0, "default"):
            warnings.warn(PROTOTYPE, UserWarning, stacklevel=2)
        self.sync_debug_mode = mode if isinstance(mode, int) else ("default", "warn", "error").index(mode)
