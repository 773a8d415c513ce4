"""Removal of sessions, and space given back to the file system, beside workers that go on writing."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from spectui.store.clock import now
from spectui.store.database import Connection, raw
from spectui.store.errors import StoreError
from spectui.store.rows import LIVE_STATUSES
from spectui.store.sessions import name_and_status
from spectui.store.sqlite.batches import in_batches
from spectui.store.sqlite.transactions import explained, path_of, transaction

Progress = Callable[[str, int], None]
"""Called with the kind of rows being removed and their number so far."""

_INCREMENTAL = 2
"""`PRAGMA auto_vacuum` of files that can shrink in steps."""


def _quietly(_what: str, _done: int) -> None:
    return None


def delete_session(db: Connection, session_id: int, progress: Progress = _quietly) -> None:
    """Delete a session and all it recorded; `StoreError` while a worker is at work on it.

    It is shown no more from the first moment. Its rows go in short transactions, so that workers of other
    sessions go on; what is left when this process dies goes with the next `remove_deleted`.
    """
    connection = raw(db)
    with transaction(connection):
        name, status = name_and_status(connection, session_id)
        if status in LIVE_STATUSES:
            raise StoreError(f"session '{name}' is {status}; stop it before deleting it")
        # No session can have such a name: `store.labels` allows no control characters.
        connection.execute(
            "UPDATE session SET deleted_at = ?, name = ? WHERE id = ?",
            (now(), f"\x7f{session_id}", session_id),
        )
    remove_deleted(connection, progress)


def remove_deleted(db: Connection, progress: Progress = _quietly) -> int:
    """Remove the rows of sessions that were deleted, in short transactions; returns the number of sessions."""
    connection = raw(db)
    with explained(None, connection):
        rows = connection.execute("SELECT id FROM session WHERE deleted_at IS NOT NULL").fetchall()
    for (session_id,) in rows:
        _remove(connection, session_id, progress)
    return len(rows)


def _remove(connection: sqlite3.Connection, session_id: int, progress: Progress) -> None:
    def rounds(size: int) -> int:
        # The nodes of a round go with it.
        return connection.execute(
            "DELETE FROM round WHERE id IN (SELECT round.id FROM generation JOIN round"
            " ON round.generation_id = generation.id WHERE session_id = ? LIMIT ?)",
            (session_id, size),
        ).rowcount

    def prompts(size: int) -> int:
        return connection.execute(
            "DELETE FROM generation WHERE id IN (SELECT id FROM generation WHERE session_id = ? LIMIT ?)",
            (session_id, size),
        ).rowcount

    in_batches(connection, rounds, lambda done: progress("rounds", done))
    in_batches(connection, prompts)
    with transaction(connection):
        connection.execute("DELETE FROM session WHERE id = ? AND deleted_at IS NOT NULL", (session_id,))


@dataclass(frozen=True)
class Vacuumed:
    """The result of `vacuum`."""

    sessions: int
    """Deleted ones whose last rows it removed."""
    before: int
    after: int
    """Bytes of the file."""


def vacuum(db: Connection, progress: Progress = _quietly) -> Vacuumed:
    """Give the space of what was deleted back to the file system.

    In short transactions, beside running workers. A file that an older spectui made cannot shrink in
    steps: it is written anew, once, which takes as much free disk as it holds and which no worker may be at
    work beside. Raises `StoreError` when that is so.
    """
    connection = raw(db)
    path = Path(path_of(connection))
    sessions = remove_deleted(connection, progress)
    with explained(path, connection):
        before = path.stat().st_size
        if connection.execute("PRAGMA auto_vacuum").fetchone()[0] != _INCREMENTAL:
            _write_anew(connection, path, before)
        else:
            in_batches(connection, lambda size: _give_back(connection, size), lambda n: progress("pages", n))
        # Moved pages are in the log; the file is cut when they are written back, which readers may delay.
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return Vacuumed(sessions, before, path.stat().st_size)


def _give_back(connection: sqlite3.Connection, size: int) -> int:
    free: int = connection.execute("PRAGMA freelist_count").fetchone()[0]
    if free:
        connection.execute(f"PRAGMA incremental_vacuum({size:d})").fetchall()
    remaining: int = connection.execute("PRAGMA freelist_count").fetchone()[0]
    return free - remaining


def _write_anew(connection: sqlite3.Connection, path: Path, size: int) -> None:
    for name, status in _live(connection):
        raise StoreError(
            f"session '{name}' is {status}, and this file, of an older spectui, has to be written anew to shrink;"
            " try again when no run is at work"
        )
    free = shutil.disk_usage(path.parent).free
    if free < 2 * size:
        raise StoreError(
            f"writing the database anew takes {2 * size / 1e6:,.0f} MB of free disk, and there are"
            f" {free / 1e6:,.0f} MB; make room and try again"
        )
    connection.execute(f"PRAGMA auto_vacuum = {_INCREMENTAL}")
    connection.execute("VACUUM")


def _live(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    ids = connection.execute("SELECT id FROM session WHERE deleted_at IS NULL").fetchall()
    states = [name_and_status(connection, session_id) for (session_id,) in ids]
    return [(name, status) for name, status in states if status in LIVE_STATUSES]
