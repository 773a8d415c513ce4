"""Observation of what is captured: graphs, their nodes, seconds and replays, and the cause where one is refused."""

from __future__ import annotations

import ctypes
import time
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self
from weakref import WeakKeyDictionary

import torch

from spectui.decoding.device.graphs import Graphs
from spectui.decoding.device.rounds import DeviceRounds
from spectui.decoding.engine import SpeculativeDecoder
from tests.bench.gpu_check.report import causes


@dataclass
class Seen:
    """One key of a `Graphs`: a function, and its graph once it is captured."""

    calls: int = 0
    captured: bool = False
    seconds: float = 0.0
    """Of warming up and capturing."""
    nodes: int | None = None
    milliseconds: deque[float] = field(default_factory=lambda: deque(maxlen=64))
    """Of its last calls, where nothing is captured."""


@dataclass
class Part:
    """All that one `Graphs` ran."""

    role: str
    graphs: Graphs
    seen: dict[Hashable, Seen] = field(default_factory=dict)

    @property
    def problems(self) -> list[str]:
        """Reasons to say that not all of it is captured; none where it was never asked to run anything."""
        if self.graphs.reason is not None:
            return [f"{self.role}: {self.graphs.reason}"]
        out = []
        for key, one in self.seen.items():
            if not one.captured:
                out.append(f"{self.role} {key}: no graph")
            elif not one.nodes:
                out.append(f"{self.role} {key}: {one.nodes if one.nodes == 0 else 'uncountable'} nodes")
            elif one.calls < 1:
                out.append(f"{self.role} {key}: never replayed")
        return out


class Watch:
    """Inside, every `Graphs` is observed; `causes` are those of all captures that were refused."""

    def __init__(self) -> None:
        self.causes: list[list[str]] = []
        self._seen: WeakKeyDictionary[Graphs, dict[Hashable, Seen]] = WeakKeyDictionary()
        self._now: Seen | None = None

    def __enter__(self) -> Self:
        self._run, self._capture, self._graph = Graphs.run, Graphs._capture, torch.cuda.CUDAGraph
        watch = self

        def run(graphs: Graphs, key: Hashable, function: Callable[[], Any]) -> Any:
            one = watch._seen.setdefault(graphs, {}).setdefault(key, Seen())
            one.calls += 1
            before, watch._now = watch._now, one
            start = time.perf_counter()
            try:
                return watch._run(graphs, key, function)
            finally:
                watch._now = before
                if graphs.reason is not None:
                    one.milliseconds.append(1e3 * (time.perf_counter() - start))

        def capture(graphs: Graphs, function: Callable[[], Any]) -> Any:
            start = time.perf_counter()
            try:
                made = watch._capture(graphs, function)
            except RuntimeError as error:
                watch.causes.append(causes(error))
                raise
            if watch._now is not None:
                one = watch._now
                one.captured, one.nodes = True, nodes_of(made[0])
                one.seconds += time.perf_counter() - start
            return made

        def keeping(*_: object, **__: object) -> Any:
            return watch._graph(keep_graph=True)  # else its nodes are gone once it is instantiated

        Graphs.run = run  # type: ignore[method-assign,assignment]
        Graphs._capture = capture  # type: ignore[method-assign,assignment]
        torch.cuda.CUDAGraph = keeping  # type: ignore[misc,assignment]
        return self

    def forgive(self) -> None:
        """Let captures be tried again: the next part of the check is judged by itself."""
        Graphs.broken = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        Graphs.run = self._run  # type: ignore[method-assign]
        Graphs._capture = self._capture  # type: ignore[method-assign]
        torch.cuda.CUDAGraph = self._graph  # type: ignore[misc]
        self.forgive()

    def part(self, role: str, graphs: Graphs) -> Part:
        """All that `graphs` has run so far."""
        return Part(role, graphs, self._seen.get(graphs, {}))

    def parts(self, decoder: SpeculativeDecoder) -> list[Part]:
        """All that a decoder has run; none where it does not run on fixed sizes."""
        if not isinstance(decoder.rounds, DeviceRounds):
            return []
        of_drafter = decoder.rounds.graphs[3:]
        names = ("head", "choice") if len(of_drafter) == 2 else ("draft", "gather of the draft", "choice")
        roles = ("verification", "gather", "judgement", *names)
        return [self.part(*pair) for pair in zip(roles, decoder.rounds.graphs, strict=False)]

    def problems(self, decoder: SpeculativeDecoder) -> list[str]:
        """Reasons to say that a decoder which has decoded did not run from graphs alone."""
        parts = self.parts(decoder)
        if not parts:
            return ["it does not decode in buffers of fixed size"]
        idle = [f"{part.role}: nothing ran" for part in parts[:3] if not part.seen]
        return [*idle, *(problem for part in parts for problem in part.problems)]


def graph_of(graphs: Graphs, key: Hashable) -> Any | None:
    """The graph of `key`; None where there is none, or it was forgotten because its buffers moved."""
    kept = graphs._kept.get(key)
    return None if kept is None else kept[0]


def nodes_of(graph: Any) -> int | None:
    """Kernels, copies and fills of a graph that keeps them; None where they cannot be counted."""
    nodes = getattr(graph, "nodes", None)
    if isinstance(nodes, int):
        return nodes
    count = ctypes.c_size_t(0)
    try:
        # torch has loaded it, so that its name is enough.
        runtime = ctypes.CDLL(f"libcudart.so.{str(torch.version.cuda).partition('.')[0]}")
        raw = ctypes.c_void_p(graph.raw_cuda_graph())
        if runtime.cudaGraphGetNodes(raw, None, ctypes.byref(count)) != 0:
            return None
    except (OSError, AttributeError, RuntimeError):
        return None
    return int(count.value)
