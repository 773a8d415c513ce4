"""The state of a session's worker, whatever its row says, and the time since its last sign of life."""

from __future__ import annotations

import os
import socket

from spectui.store.clock import seconds_since
from spectui.store.rows import LIVE_STATUSES
from spectui.store.whereabouts import FileIdentity, read_whereabouts

SILENCE_SECONDS = 30.0
"""A worker on another host without a heartbeat for so long counts as gone."""

SILENT_SECONDS = 10.0
"""A worker, which writes a heartbeat every second, counts as silent from then on: it is stopped, or hangs."""
SILENT_SECONDS_ELSEWHERE = 20.0
"""The same for a worker on another host: clocks differ."""

UNCLAIMED_SECONDS = 60.0
"""A session that no worker has claimed for so long will not be."""

WORKER_COLUMNS = ("pid", "pid_created", "host", "heartbeat_at", "created_at", "worker_place")
"""Columns of `session` that `effective_status` depends on."""

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
    worker_place: str = "",
    file: FileIdentity | None = None,
) -> str:
    """`status`, or "interrupted" when it is a live one without a worker.

    `file` is the database that the row was read from: a copy of the one that the worker writes has no worker.
    """
    if status not in LIVE_STATUSES:
        return status
    if pid is None:
        waited = seconds_since(created_at)
        alive = waited is not None and abs(waited) < UNCLAIMED_SECONDS
    else:
        alive = _at_work(pid, pid_created, host, heartbeat_at, worker_place, file)
    return status if alive else "interrupted"


def _at_work(
    pid: int,
    created: float | None,
    host: str,
    heartbeat_at: str | None,
    worker_place: str,
    file: FileIdentity | None,
) -> bool:
    place = read_whereabouts(worker_place)
    away = None if file is None else place.works_on_other_file(file)
    if away:
        return False
    unsure = away is None and file is not None and bool(place.inode)
    if is_local(host, worker_place) and not unsure:
        alive = place.alive(pid)
        return process_is_alive(pid, created) if alive is None else alive
    silent = seconds_since(heartbeat_at)
    # Clocks differ a little; a heartbeat from next year is no sign of life.
    return silent is not None and abs(silent) < SILENCE_SECONDS


def is_local(host: str, worker_place: str) -> bool:
    """True when the pid of a worker is one of this system's."""
    local = read_whereabouts(worker_place).local
    return host == socket.gethostname() if local is None else local


def silent_seconds(
    status: str,
    *,
    pid: int | None,
    host: str,
    heartbeat_at: str | None,
    created_at: str,
    worker_place: str = "",
    pid_created: float | None = None,
) -> int | None:
    """Whole seconds for which the worker of a session with this effective status has shown no sign of life.

    None for a short time, and where there is no worker.
    """
    if status not in LIVE_STATUSES:
        return None
    seconds = seconds_since(created_at if pid is None else heartbeat_at)
    local = pid is None or is_local(host, worker_place)
    if local and pid == os.getpid():
        return None  # this process is the worker
    if seconds is None or seconds < (SILENT_SECONDS if local else SILENT_SECONDS_ELSEWHERE):
        return None
    return int(seconds)


def process_is_alive(pid: int, created: float | None) -> bool:
    """True when process `pid` of this host runs and, if `created` is known, is the one meant.

    A zombie does not count: the dashboard that launched a worker may not have waited for it yet.
    """
    import psutil  # 25 ms, and only live sessions need it

    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return created is None or abs(process.create_time() - created) < _CREATED_TOLERANCE
    except (psutil.NoSuchProcess, ValueError):  # which a number that is no pid is
        return False
    except psutil.Error:
        return True
