"""Waiting for what another process or thread does, without guessing how long it takes."""

from __future__ import annotations

import time
from collections.abc import Callable


def until(
    condition: Callable[[], bool], *, seconds: float = 60.0, what: Callable[[], str] | None = None
) -> None:
    """Return as soon as `condition` holds; fail with `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"still waiting for {what() if what else condition} after {seconds} s")
        time.sleep(0.01)
