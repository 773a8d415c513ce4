"""Graphs, streams and events of a fake GPU."""

from __future__ import annotations

import time
import warnings
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch

from tests.fake_gpu.seen import EMPTY, INVALIDATED, NOT_READY, STALE_POOL, place_of_call
from tests.fake_gpu.tensors import Block, DeviceTensor, entered

_NUMBERS = count(1)


@dataclass(frozen=True)
class Step:
    """An operation of a graph, and the tensors that it wrote when it was captured."""

    func: Any
    args: Any
    kwargs: Any
    written: tuple[tuple[torch.Tensor, bool], ...]
    """Results, and whether each has memory of its own rather than an argument's."""

    def run(self) -> None:
        """Do it again, into the same memory."""
        again = self.func(*self.args, **self.kwargs)
        results = again if isinstance(again, (list, tuple)) else [again]
        tensors = [x for x in results if isinstance(x, torch.Tensor)]
        for (old, fresh), new in zip(self.written, tensors, strict=True):
            if fresh:
                old.copy_(new)


class Pool:
    """Memory that graphs share."""

    def __init__(self) -> None:
        self.graphs: weakref.WeakSet[FakeGraph] = weakref.WeakSet()
        self.blocks: list[weakref.ref[Block]] = []
        self.workspace = False
        """True when a library's workspace lies in it, which is never freed."""
        self.allocating = False
        """True for what the allocator takes for a capture under way."""

    def check(self) -> None:
        """Raise `RuntimeError` where the allocator would die."""
        living = [block for made in self.blocks if (block := made()) is not None]
        if not len(self.graphs) and (living or self.workspace):
            which = [f"{tuple(block.whole.shape)} of {block.place}" for block in living[:3]]
            raise RuntimeError(f"{STALE_POOL}: {which or 'a workspace of cuBLAS'} outlived the pool's graphs")
        self.blocks = [weakref.ref(block) for block in living]


class FakeGraph:
    """`torch.cuda.CUDAGraph`."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.machine = entered()
        self.steps: list[Step] = []
        self.shared: Pool | None = None
        self.blocks: list[weakref.ref[Block]] = []
        """Memory allocated in the capture that outlived it: what was returned."""
        self.read: dict[weakref.ref[Block], str] = {}
        """Memory from outside, with the line that read it."""
        self.invalid = False
        self.replays = 0
        self.number = next(_NUMBERS)

    def capture_begin(self, pool: Pool | None = None, capture_error_mode: str = "global", **_: Any) -> None:
        if pool is not None:
            pool.check()
        machine = self.machine
        self.shared = pool or Pool()
        self.stream = machine.current_stream()
        machine.modes.add(capture_error_mode)
        machine.underway += 1
        self.shared.allocating = True
        machine.capture = self

    def capture_end(self) -> None:
        machine = self.machine
        machine.capture = None
        if self.invalid:
            raise RuntimeError(INVALIDATED)  # and the allocator goes on taking it for under way
        assert self.shared is not None
        machine.end_allocation(0, self.shared)
        machine.captures += 1
        self.shared.graphs.add(self)
        self.shared.blocks += self.blocks
        if not self.steps:
            warnings.warn(EMPTY, UserWarning, stacklevel=2)

    def pool(self) -> Pool:
        assert self.shared is not None
        return self.shared

    @property
    def nodes(self) -> int:
        """Operations, as `gpu_check` counts a real graph's."""
        return len(self.steps)

    def reset(self) -> None:
        assert self.shared is not None
        self.shared.graphs.discard(self)
        self.steps.clear()

    def replay(self) -> None:
        machine = self.machine
        self.replays += 1
        machine.replays += 1
        assert self.shared is not None
        for kept, place in self.read.items():
            if kept() is None:
                machine.problems.append(f"a graph reads memory that was freed: {place}")
        with torch._C._DisableTorchDispatch(), torch.inference_mode():
            for other in self.shared.graphs:
                for returned in other.blocks:
                    if other is not self and (block := returned()) is not None:
                        block.spoil()
            for step in self.steps:
                step.run()
        machine.work += 1

    def record(
        self, func: Any, arguments: tuple[Any, Any], written: tuple[tuple[torch.Tensor, bool], ...],
        tensors: Sequence[DeviceTensor], made: Sequence[DeviceTensor],
    ) -> None:  # fmt: skip
        """Add an operation that read `tensors` and allocated `made`."""
        self.steps.append(Step(func, *arguments, written))
        for tensor in tensors:
            block = weakref.ref(tensor.block)
            if tensor.block.capture != self.number and block not in self.read:
                self.read[block] = place_of_call()
        self.blocks += [weakref.ref(tensor.block) for tensor in made]


class FakeStream:
    """`torch.cuda.Stream`."""

    def __init__(self, device: Any = None, **_: Any) -> None:
        machine = entered()
        self.device = torch.device("cuda", machine.index_of(device))
        self.has_workspace = False
        machine.streams += 1

    def wait_stream(self, stream: FakeStream) -> None:
        assert isinstance(stream, FakeStream)

    def synchronize(self) -> None:
        entered().wait("stream.synchronize")


class StreamContext:
    """`torch.cuda.stream`."""

    def __init__(self, stream: FakeStream) -> None:
        self.stream = stream

    def __enter__(self) -> None:
        machine = entered()
        self.device, self.before = machine.device, machine.current_stream(self.stream.device)
        machine.set_stream(self.stream)

    def __exit__(self, *_: object) -> None:
        entered().set_stream(self.before)
        entered().device = self.device


class FakeEvent:
    """`torch.cuda.Event`; its time may be read once the host has waited for what came before it."""

    def __init__(self, **_: Any) -> None:
        entered().events.add(self)

    def record(self, stream: FakeStream | None = None) -> None:
        machine = entered()
        machine.work += 1
        self.at, self.when = machine.work, time.perf_counter()
        self.device = (stream or machine.current_stream()).device

    def elapsed_time(self, end: FakeEvent) -> float:
        if max(self.at, end.at) > entered().passed:
            raise RuntimeError(NOT_READY)
        return 1e3 * (end.when - self.when)


class FakeGenerator(torch.Generator):
    """`torch.Generator`, whose numbers on the device are the host's."""

    def __new__(cls, device: Any = "cpu") -> FakeGenerator:
        return super().__new__(cls, "cpu")  # type: ignore[call-arg]
