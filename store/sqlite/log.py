"""Truncation of the write-ahead log, which grows while there is always a reader.

SQLite begins the log anew only when a commit finds all of it written back and no reader on it. With several
dashboards on a fast run such moments are rare, and a fast run writes a hundred megabytes a second. So the writer checks
the log's size now and then, and waits for such a moment when it is large: new readers meanwhile read from the file
itself, and current ones end within milliseconds.
"""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import suppress

LARGE = 16 << 20
"""Bytes from which a writer waits; twice the size at which SQLite writes back by itself."""
PATIENCE_MS, LONGEST_MS = 300, 1000
"""The time that an attempt waits for readers at that size, and at most: longer the larger the log is. Other writers
wait with it."""
GROWTH = 1.25
"""The log grows by so much before the next attempt that waits: all that a reader of one state for long (a report)
costs a run is a few waits for each doubling of the log, which is cut back when that reader is done."""
SECONDS = 1.0
"""Time between attempts without waiting, while the log is large."""


class LogKeeper:
    """Keeps the log of one database small: call `truncate_if_large` after transactions."""

    def __init__(self, database: str) -> None:
        self._log = database + "-wal"
        self._size = LARGE
        """Bytes at which the writer waits next."""
        self._next = 0.0

    def truncate_if_large(self, connection: sqlite3.Connection) -> bool:
        """Begin the log anew if it is large and that can be done soon; True when it was."""
        try:
            size = os.stat(self._log).st_size  # noqa: PTH116 (called thousands of times a second)
        except OSError:  # no log: another journal, or nothing written yet
            return False
        if size < LARGE:
            self._size = LARGE
            return False
        now = time.monotonic()
        if size < self._size and now < self._next:
            return False
        patience = min(PATIENCE_MS * size // LARGE, LONGEST_MS) if size >= self._size else 0
        begun = _begin_anew(connection, patience)
        self._next = now + SECONDS
        self._size = LARGE if begun else max(int(size * GROWTH), self._size)
        return begun


def _begin_anew(connection: sqlite3.Connection, patience_ms: int) -> bool:
    busy = 1
    with suppress(sqlite3.Error):
        (before,) = connection.execute("PRAGMA busy_timeout").fetchone()
        connection.execute(f"PRAGMA busy_timeout = {patience_ms}").fetchall()
        try:
            busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        finally:
            connection.execute(f"PRAGMA busy_timeout = {before}").fetchall()
    return not busy
