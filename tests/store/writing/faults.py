"""A database connection that fails on purpose: at the n-th statement, as SQLite reports it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from spectui.store import database

FAULTS = {
    "ENOSPC": ("SQLITE_FULL", 13, "database or disk is full"),
    "EIO": ("SQLITE_IOERR_WRITE", 778, "disk I/O error"),
    "BUSY": ("SQLITE_BUSY", 5, "database is locked"),
}
"""Error of the system -> SQLite's name, code and words for it."""


class FaultyConnection(sqlite3.Connection):
    """Counts the statements that may write, and raises in place of the `fail_at`-th and the `times - 1` after it.

    A statement that fails has done nothing, which is what SQLite promises; of `executemany` the first half of
    the rows is written first, as when the disk fills in the middle. ROLLBACK never fails.
    """

    statements = 0
    fail_at = 0
    times = 1
    fault = "EIO"
    failed: list[str]

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        self._count(sql)
        return super().execute(sql, parameters)

    def executemany(self, sql: str, rows: Iterable[Any], /) -> sqlite3.Cursor:
        rows = list(rows)
        self._count(sql, rows)
        return super().executemany(sql, rows)

    def arm(self, fault: str, fail_at: int, times: int = 1) -> None:
        """Fail at the `fail_at`-th statement from now, from 1."""
        self.fault, self.fail_at, self.times = fault, self.statements + fail_at, times
        self.failed = []

    def disarm(self) -> None:
        """Fail no more."""
        self.fail_at = 0

    def _count(self, sql: str, rows: Sequence[Sequence[Any] | Mapping[str, Any]] = ()) -> None:
        if sql.lstrip().upper().startswith(("PRAGMA", "ROLLBACK")):
            return
        self.statements += 1
        if self.fail_at and self.fail_at <= self.statements < self.fail_at + self.times:
            if rows:
                super().executemany(sql, rows[: len(rows) // 2])
            self.failed.append(" ".join(sql.split())[:60])
            name, code, words = FAULTS[self.fault]
            error = sqlite3.OperationalError(words)
            error.sqlite_errorname, error.sqlite_errorcode = name, code
            raise error


def faulty(path: Path) -> FaultyConnection:
    """A connection to the database at `path`, opened as `store.database.connect` does, that can be armed."""
    plain = sqlite3.connect
    database.connect(path).close()
    try:
        database.sqlite3.connect = lambda *args, **kwargs: plain(  # type: ignore[attr-defined]
            *args, **{**kwargs, "factory": FaultyConnection}
        )
        connection = database.connect(path)
    finally:
        database.sqlite3.connect = plain  # type: ignore[attr-defined]
    assert isinstance(connection, FaultyConnection)
    return connection
