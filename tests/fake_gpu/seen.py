"""Waits and transfers that a fake GPU saw, and the errors of a real one."""

from __future__ import annotations

import sys
from dataclasses import dataclass

WAIT, PAGEABLE, PINNED = "wait", "upload from pageable memory", "upload"
NOT_PERMITTED = "CUDA error: operation not permitted when stream is capturing"
INVALIDATED = "CUDA error: operation failed due to a previous error during capture"
STALE_POOL = "it->second->use_count > 0 INTERNAL ASSERT FAILED"
NOT_READY = "CUDA error: device not ready"
EMPTY = (
    "The CUDA Graph is empty. This usually means that the graph was attempted to be captured on wrong device"
)
MANY_DEVICES = "Expected all tensors to be on the same device"
SYNCHRONISING = "called a synchronizing CUDA operation"
PROTOTYPE = (
    "Synchronization debug mode is a prototype feature and does not yet detect all synchronizing operations"
)


@dataclass(frozen=True)
class Seen:
    """Something that the host or a transfer did."""

    kind: str
    """`WAIT`, `PAGEABLE` or `PINNED`."""
    operation: str
    place: str
    """Module and line of the innermost frame in this project, or in transformers."""
    captured: bool
    """True inside a capture."""


def place_of_call() -> str:
    """Line of the innermost frame of the code under test, or of transformers."""
    frame, elsewhere = sys._getframe(2), ""
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module.startswith("spectui."):
            return f"{module}:{frame.f_lineno}"
        if not elsewhere and module.startswith("transformers."):
            elsewhere = f"{module}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    return elsewhere
