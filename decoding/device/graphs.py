"""CUDA graphs of functions that read and write fixed tensors; without them the functions run eagerly."""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Callable, Hashable, Iterator
from traceback import walk_tb
from typing import Any, ClassVar

import torch

CAPTURE_SWITCH = "SPECTUI_CAPTURE"
"""``0`` in the environment switches capturing off."""
WARM_UPS = 2
"""Runs before a capture: libraries choose their kernels and allocate their workspaces in them."""

log = logging.getLogger("spectui.device")


class Graphs:
    """Captured functions by key. Graphs of one object share their memory: what one has returned may be overwritten by
    running another."""

    broken: ClassVar[str | None] = None
    """The reason for which no `Graphs` of the process captures any more: a capture was broken off, by another error
    than a lack of memory. One that was refused before it began, or was a probe, is no such reason."""
    _streams: ClassVar[dict[torch.device, Any]] = {}

    def __init__(self, device: torch.device, *, refused: str = "", probe: bool = False) -> None:
        """`refused` is a reason for capturing nothing that is known beforehand; a `probe` finds out what can be
        captured, and its failure stops no other."""
        self.captures = 0
        """Functions captured so far."""
        self._probe = probe
        self._reason: str | None = None
        self._failed = False
        if device.type != "cuda":
            self._reason = f"CUDA graphs need a GPU; this runs on the {device.type}"
        elif os.environ.get(CAPTURE_SWITCH) == "0":
            self._reason = f"capturing was switched off ({CAPTURE_SWITCH}=0)"
        elif refused:
            self._reason = refused
        self._device = device
        self._pool: Any = None
        self._kept: dict[Hashable, tuple[Any, Any]] = {}

    @property
    def reason(self) -> str | None:
        """The reason for capturing nothing; None while capturing works."""
        return self._reason or Graphs.broken

    @property
    def failed(self) -> bool:
        """True where functions were to be captured, and could not be."""
        return self._failed or (self._reason is None and Graphs.broken is not None)

    def forget(self) -> None:
        """Drop every graph: the buffers they were captured on have moved."""
        self._kept.clear()
        # A pool without graphs cannot be captured into while a tensor lives that one of them returned.
        self._pool = None

    def run(self, key: Hashable, function: Callable[[], Any]) -> Any:
        """The result of `function`, from its graph where it can be captured.

        `function` must read and write the same tensors in every call with the same key, and doing so several times
        must be as good as once: it is tried before it is captured.
        """
        if self.reason is not None:
            return function()
        if key not in self._kept:
            try:
                self._kept[key] = self._capture(function)
            except RuntimeError as error:
                shortage = _lack_of_memory(error)
                if shortage is not None:
                    raise shortage from None
                self._fail(error)
                return function()
            self.captures += 1
        graph, out = self._kept[key]
        graph.replay()
        return out

    def _fail(self, error: RuntimeError) -> None:
        self._reason, self._failed = _reason(error), True
        self.forget()
        level = logging.DEBUG if self._probe else logging.WARNING
        log.log(level, "forwards run one kernel at a time: %s", self._reason)

    def _capture(self, function: Callable[[], Any]) -> tuple[Any, Any]:
        """The graph of `function`, and what it returned.

        It runs on the process's one stream for captures: libraries keep a workspace for each stream, which the first
        warm-up allocates outside of the pool.
        """
        with torch.cuda.device(self._device):
            side = self._stream()
            _warm_up(function, side, torch.cuda.current_stream(self._device))
            self._pool = self._pool or torch.cuda.graph_pool_handle()
            return self._record(function, side)

    def _record(self, function: Callable[[], Any], side: Any) -> tuple[Any, Any]:
        """The graph of `function` on the current device, and what it returned. Raises `RuntimeError` after cleaning up
        what torch leaves behind: the stream, and an allocator that takes the capture for under way."""
        before, graph = torch.cuda.current_stream(), torch.cuda.CUDAGraph()
        context = torch.cuda.graph(graph, pool=self._pool, stream=side, capture_error_mode="thread_local")
        underway, warned = False, list[warnings.WarningMessage]()
        try:
            with warnings.catch_warnings(record=True) as warned:
                warnings.simplefilter("always")
                with context:
                    underway = True
                    out = function()
                underway = False
            if any(map(_of_empty_graph, warned)):
                raise RuntimeError("nothing was captured: the kernels ran on another device or stream")
        except BaseException as error:
            torch.cuda.set_stream(before)
            if underway:
                # Where the capture was ended after all, the first of them refuses.
                with contextlib.suppress(Exception):
                    torch._C._cuda_endAllocateToPool(torch.cuda.current_device(), self._pool)
                    torch._C._cuda_releasePool(torch.cuda.current_device(), self._pool)
                if isinstance(error, RuntimeError) and not self._probe and _lack_of_memory(error) is None:
                    Graphs.broken = _reason(error)
            raise
        finally:
            for one in warned:
                if not _of_empty_graph(one):
                    warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
        return graph, out

    def _stream(self) -> Any:
        if self._device not in self._streams:
            self._streams[self._device] = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        return self._streams[self._device]


def _warm_up(function: Callable[[], Any], side: Any, before: Any) -> None:
    """Run `function` on the stream `side`. The last run judges it: what waits for the device is refused there, where
    a failure leaves nothing behind."""
    side.wait_stream(before)
    mode = torch.cuda.get_sync_debug_mode()
    try:
        with torch.cuda.stream(side), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Synchronization debug mode is a prototype")
            for _ in range(WARM_UPS - 1):
                function()
            torch.cuda.set_sync_debug_mode("error")
            function()
    finally:
        torch.cuda.set_sync_debug_mode(mode)
        before.wait_stream(side)


def _of_empty_graph(warning: warnings.WarningMessage) -> bool:
    return "Graph is empty" in str(warning.message)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error, that which it was raised upon, and so on."""
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__context__


def _lack_of_memory(error: BaseException) -> torch.OutOfMemoryError | None:
    """The lack of memory behind an error: the end of a capture that it interrupts raises another."""
    return next((link for link in _chain(error) if isinstance(link, torch.OutOfMemoryError)), None)


def _reason(error: BaseException) -> str:
    """The first error of a chain, and the line that met it: the end of a capture only says that there was one."""
    *_, error = _chain(error)
    places = [
        f" ({module}:{line})"
        for frame, line in walk_tb(error.__traceback__)
        if (module := frame.f_globals.get("__name__", "")) != __name__
        and module.startswith(("spectui.", "transformers."))
    ]
    return f"capturing failed: {' '.join(str(error).split())[:200]}{''.join(places[-1:])}"
