"""Long work in short transactions, so that a worker on the same file never waits long for its turn."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable

from spectui.store.sqlite.transactions import transaction

HOLD_SECONDS = 0.03
"""The time that one transaction should take: a worker's round is about as long."""
REST = 1.5
"""Seconds of rest for each second of holding the lock: others poll for it, and must find it free."""
LEAST, MOST = 1, 20_000
"""Bounds of what is done at once."""


def in_batches(
    connection: sqlite3.Connection,
    step: Callable[[int], int],
    progress: Callable[[int], None] = lambda done: None,
    *,
    first: int = 50,
) -> int:
    """Call `step(size)` in a transaction of its own until it returns 0; returns the sum of what it returned.

    `step` deals with about `size` pieces and says with how many it did; `size` follows how long that takes.
    Each batch stays when a later one fails. Raises `StoreError` as `transaction` does.
    """
    size, total = first, 0
    while True:
        begun = time.perf_counter()
        with transaction(connection):
            done = step(size)
        took = time.perf_counter() - begun
        if not done:
            return total
        total += done
        progress(total)
        size = min(max(round(size * min(max(HOLD_SECONDS / max(took, 1e-6), 0.25), 2.0)), LEAST), MOST)
        time.sleep(REST * took)
