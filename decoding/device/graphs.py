"""CUDA graphs of functions that read and write fixed tensors; without them the functions run eagerly."""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Callable, Hashable
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
    """The reason for which no `Graphs` of the process captures any more: a capture that had begun went wrong."""
    _streams: ClassVar[dict[torch.device, Any]] = {}

    def __init__(self, device: torch.device, *, refused: str = "") -> None:
        """`refused` is a reason for capturing nothing that is known beforehand."""
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
                if isinstance(error, torch.OutOfMemoryError):
                    raise
                self._fail(error)
                return function()
        graph, out = self._kept[key]
        graph.replay()
        return out

    def _fail(self, error: RuntimeError) -> None:
        self._reason, self._failed = _reason(error), True
        self.forget()
        log.warning("forwards run one kernel at a time: %s", self._reason)

    def _capture(self, function: Callable[[], Any]) -> tuple[Any, Any]:
        """The graph of `function`, and what it returned.

        It runs on the process's one stream for captures: libraries keep a workspace for each stream, which the first
        warm-up allocates outside of the pool.
        """
        with torch.cuda.device(self._device):
            side = self._stream()
            _warm_up(function, side, torch.cuda.current_stream(self._device))
            self._pool = self._pool or torch.cuda.graph_pool_handle()
            return _captured(function, side, self._pool)

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
            warnings.simplefilter("ignore")  # torch calls the mode a prototype, once a process
            for _ in range(WARM_UPS - 1):
                function()
            torch.cuda.set_sync_debug_mode("error")
            function()
    finally:
        torch.cuda.set_sync_debug_mode(mode)
        before.wait_stream(side)


def _captured(function: Callable[[], Any], side: Any, pool: Any) -> tuple[Any, Any]:
    """The graph of `function` on the current device, and what it returned. Raises `RuntimeError` after cleaning up what
    torch leaves behind: the stream, and an allocator that takes the capture for under way."""
    before, graph = torch.cuda.current_stream(), torch.cuda.CUDAGraph()
    context = torch.cuda.graph(graph, pool=pool, stream=side, capture_error_mode="thread_local")
    begun = False
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            with context:
                begun = True
                out = function()
        if any("Graph is empty" in str(one.message) for one in warned):
            raise RuntimeError("nothing was captured: the kernels ran on another device or stream")
    except BaseException as error:
        torch.cuda.set_stream(before)
        if begun:
            with contextlib.suppress(
                Exception
            ):  # where the capture was ended after all, the first of them refuses
                torch._C._cuda_endAllocateToPool(torch.cuda.current_device(), pool)
                torch._C._cuda_releasePool(torch.cuda.current_device(), pool)
        if isinstance(error, RuntimeError) and not isinstance(error, torch.OutOfMemoryError):
            Graphs.broken = _reason(error)
        raise
    return graph, out


def _reason(error: BaseException) -> str:
    """The first error of a chain, and the line that met it: the end of a capture only says that there was one."""
    while error.__context__ is not None:
        error = error.__context__
    places = [
        f" ({module}:{line})"
        for frame, line in walk_tb(error.__traceback__)
        if (module := frame.f_globals.get("__name__", "")) != __name__
        and module.startswith(("spectui.", "transformers."))
    ]
    return f"capturing failed: {' '.join(str(error).split())[:200]}{''.join(places[-1:])}"
