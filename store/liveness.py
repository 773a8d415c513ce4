"""Whether the worker of a session is still there, whatever its row says."""

from __future__ import annotations

import socket

from store.clock import seconds_since
from store.rows import LIVE_STATUSES

SILENCE_SECONDS = 30.0
"""A worker on another host that has not been heard of for so long is gone."""

UNCLAIMED_SECONDS = 60.0
"""A session that no worker has claimed for so long will not be."""

_CREATED_TOLERANCE = 2.0
"""Seconds by which a process's creation time may differ between two readings (the clock is adjusted)."""


def effective_status(
    status: str,
    *,
    pid: int | None,
    pid_created: float | None,
    host: str,
    heartbeat_at: str | None,
    created_at: str,
) -> str:
    """`status`, or "interrupted" when it is a live one and nobody is at work any more."""
    if status not in LIVE_STATUSES:
        return status
    if pid is None:
        waited = seconds_since(created_at)
        alive = waited is not None and abs(waited) < UNCLAIMED_SECONDS
    elif host == socket.gethostname():
        alive = process_is_alive(pid, pid_created)
    else:
        silent = seconds_since(heartbeat_at)
        # Clocks differ a little; a heartbeat from next year says nothing.
        alive = silent is not None and abs(silent) < SILENCE_SECONDS
    return status if alive else "interrupted"


def process_is_alive(pid: int, created: float | None) -> bool:
    """Whether process `pid` of this host runs and, when `created` is known, is the one meant.

    A zombie does not count: a dashboard that launched a worker has not always waited for it.
    """
    import psutil  # 25 ms, and only live sessions need it

    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return created is None or abs(process.create_time() - created) < _CREATED_TOLERANCE
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        return True
