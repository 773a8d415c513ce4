"""Queries of a database that others may be writing: one at a time, and several of one state on demand."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from spectui.store.database import Connection, connect, raw
from spectui.store.errors import StoreError
from spectui.store.sqlite.transactions import explained, path_of
from spectui.store.sqlite.typed import UNSOUND
from spectui.store.whereabouts import identity


class Queries:
    """A connection to read from. A path is opened read-only and closed by `close()`.

    As a context it says in one line when the block fails on values that spectui does not write. May be used from any
    thread; calls take turns. Give it a path, or a connection that no other thread writes with: it would see that one's
    half-done transactions. Every method raises `StoreError` when the file cannot be read.
    """

    def __init__(self, source: Path | str | Connection) -> None:
        self._owned = isinstance(source, Path | str)
        self._connection = connect(source, read_only=True) if isinstance(source, Path | str) else raw(source)
        self._lock = threading.RLock()
        self._version: int | None = None
        self.file = identity(path_of(self._connection))
        """The database file; None for one in memory."""

    def close(self) -> None:
        """Close what was opened here."""
        if self._owned:
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        path = path_of(self._connection) if isinstance(error, UNSOUND) else ""
        self.close()
        if isinstance(error, UNSOUND):
            # SQLite keeps any kind of value in any column, and computing with a wrong one fails in many ways.
            raise StoreError(
                f"database {path} holds values that spectui does not write ({type(error).__name__}: {str(error)[:80]});"
                f" see: spectui doctor --db {path}"
            ) from error

    def changed(self) -> bool:
        """True when another connection committed since the last call, and the first time; microseconds.

        A worker that dies commits nothing: look at `Reader.session` now and then even when this is False.
        """
        version: int = self.fetch("PRAGMA data_version")[0][0]
        before, self._version = self._version, version
        return version != before

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """A block whose reads are all of one state, whatever a worker commits meanwhile."""
        with self._lock, explained(None, self._connection):
            if self._connection.in_transaction:
                yield
                return
            self.fetch("BEGIN")
            try:
                yield
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("COMMIT")

    def fetch(self, sql: str, *parameters: float | str | None) -> list[tuple[Any, ...]]:
        """All rows of a query, for the other modules of the store."""
        with self._lock, explained(None, self._connection):
            return self._connection.execute(sql, parameters).fetchall()

    def scan(
        self, sql: str, *parameters: int | str | None, chunk: int = 50_000
    ) -> Iterator[list[tuple[Any, ...]]]:
        """Rows of a long read, `chunk` at a time, for the other modules of the store; call within `snapshot`."""
        with self._lock, explained(None, self._connection):
            cursor = self._connection.execute(sql, parameters)
            while rows := cursor.fetchmany(chunk):
                yield rows
