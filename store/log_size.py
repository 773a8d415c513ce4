"""Keeps the write-ahead log from growing while there is always somebody reading.

SQLite begins the log anew only at a moment when no reader looks at it. With several dashboards on a fast run
such moments are rare, and the log would grow; so the worker now and then waits a little for one.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import suppress
from pathlib import Path

LARGE = 16 << 20
"""Bytes from which it is worth waiting for; twice what SQLite writes back by itself."""
PATIENCE_MS = 300
"""How long one attempt may wait; other writers wait with it."""
MOST_BETWEEN = 60.0
"""Seconds between two attempts, doubling from one, while somebody reads one state for long (a report)."""


class LogKeeper:
    """Call `tend` every second or so, with a connection that has nothing else to do."""

    def __init__(self, path: Path) -> None:
        self._log = path.with_name(path.name + "-wal")
        self._next = 0.0
        self._between = 1.0

    def tend(self, connection: sqlite3.Connection) -> bool:
        """Begin the log anew if it is large and that can be done soon; whether it was."""
        now = time.monotonic()
        try:
            if now < self._next or self._log.stat().st_size < LARGE:
                return False
        except OSError:  # no log: another journal, or nothing written yet
            return False
        (before,) = connection.execute("PRAGMA busy_timeout").fetchone()
        busy = 1
        with suppress(sqlite3.Error):
            connection.execute(f"PRAGMA busy_timeout = {PATIENCE_MS}").fetchall()
            try:
                busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            finally:
                connection.execute(f"PRAGMA busy_timeout = {before}").fetchall()
        self._between = min(2 * self._between, MOST_BETWEEN) if busy else 1.0
        self._next = now + self._between
        return not busy
