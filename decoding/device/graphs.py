"""CUDA graphs of functions that read and write fixed tensors; without them the functions run eagerly."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Hashable
from typing import Any

import torch

CAPTURE_SWITCH = "SPECTUI_CAPTURE"
"""``0`` in the environment switches capturing off."""
WARM_UPS = 2
"""Runs before a capture: libraries choose their kernels and allocate their workspaces in them."""

log = logging.getLogger("spectui.device")


class Graphs:
    """Captured functions by key. `reason` is why nothing is captured; None while capturing works.

    Graphs of one object share their memory: what one has returned may be overwritten by running another.
    """

    def __init__(self, device: torch.device, *, wanted: bool = True) -> None:
        self.reason: str | None = None
        self.failed = False
        """True after a capture went wrong."""
        if device.type != "cuda":
            self.reason = f"CUDA graphs need a GPU; this runs on the {device.type}"
        elif os.environ.get(CAPTURE_SWITCH) == "0":
            self.reason = f"capturing was switched off ({CAPTURE_SWITCH}=0)"
        elif not wanted:
            self.reason = "the model is spread over several GPUs"
        self._device = device
        self._pool: Any = None
        self._kept: dict[Hashable, tuple[Any, Any]] = {}

    def forget(self) -> None:
        """Drop every graph: the buffers they were captured on have moved."""
        self._kept.clear()

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
                self.reason = f"capturing failed: {' '.join(str(error).split())[:200]}"
                self.failed = True
                self._kept.clear()
                log.warning("forwards run one kernel at a time: %s", self.reason)
                return function()
        graph, out = self._kept[key]
        graph.replay()
        return out

    def _capture(self, function: Callable[[], Any]) -> tuple[Any, Any]:
        side = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(side):
            for _ in range(WARM_UPS):
                function()
        torch.cuda.current_stream(self._device).wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            out = function()
        self._pool = self._pool or graph.pool()
        return graph, out
