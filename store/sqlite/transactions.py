"""Transactions, and SQLite's errors in words: the fault of the file, and the remedy."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from spectui.store.errors import LOCKED, DatabaseTrouble, StoreError

_ACCESS = "check the permissions of the file and its folder, or give another --db"

_ADVICE = {
    "SQLITE_BUSY": f"{LOCKED} by another program; close it and try again",
    "SQLITE_LOCKED": f"{LOCKED} by another program; close it and try again",
    "SQLITE_FULL": "cannot grow: the disk is full; make room and try again",
    "SQLITE_READONLY": f"cannot be written; {_ACCESS}",
    "SQLITE_PERM": f"cannot be written; {_ACCESS}",
    "SQLITE_CANTOPEN": f"cannot be opened; {_ACCESS}",
    "SQLITE_NOTADB": "is not a spectui database; give another --db",
    "SQLITE_CORRUPT": "is damaged; restore a copy of it, or give another --db",
    "SQLITE_TOOBIG": "holds a value too large to be one of ours; restore a copy of it, or give another --db",
    "SQLITE_INTERRUPT": "was not read to its end: the read was interrupted",
    "SQLITE_IOERR": "could not be read or written: the disk reports an error or is full",
}

_INTERRUPTED = "SQLITE_INTERRUPT"
"""See `store.sqlite.interrupts`."""

_PASSING = (
    "SQLITE_BUSY",
    "SQLITE_LOCKED",
    "SQLITE_FULL",
    "SQLITE_READONLY",
    "SQLITE_PERM",
    "SQLITE_CANTOPEN",
    "SQLITE_IOERR",
)
"""Families of errors whose cause may go away while one waits."""


def as_store_error(error: sqlite3.Error, path: Path | str) -> StoreError | KeyboardInterrupt:
    """The exception to raise for `error`: a `DatabaseTrouble` when it may pass; Ctrl-C where that ended it."""
    code = getattr(error, "sqlite_errorname", "")
    if code == _INTERRUPTED and threading.current_thread() is threading.main_thread():
        return KeyboardInterrupt()
    passing = any(code == family or code.startswith(family + "_") for family in _PASSING)
    return (DatabaseTrouble if passing else StoreError)(describe(error, path))


def describe(error: sqlite3.Error, path: Path | str) -> str:
    """One line about `error` on the database at `path`."""
    code = getattr(error, "sqlite_errorname", "")
    for prefix, advice in _ADVICE.items():
        # Extended codes, such as SQLITE_IOERR_WRITE, start with their family's.
        if code == prefix or code.startswith(prefix + "_"):
            return f"database {path} {advice}"
    return f"database {path}: {' '.join(str(error).split())}"


def path_of(connection: sqlite3.Connection) -> str:
    """The file behind a connection, for messages."""
    try:
        row = connection.execute("PRAGMA database_list").fetchone()
    except sqlite3.Error:
        return ""
    return str(row[2]) or "(in memory)"


@contextmanager
def explained(path: Path | str | None, connection: sqlite3.Connection | None = None) -> Iterator[None]:
    """Turn SQLite's errors into a `StoreError`; the path is asked of `connection` when not given."""
    try:
        yield
    except sqlite3.Error as error:
        where = path if path is not None else path_of(connection) if connection is not None else ""
        raise as_store_error(error, where) from error
    except UnicodeDecodeError as error:  # what SQLite says about a damaged schema quotes it
        where = path if path is not None else path_of(connection) if connection is not None else ""
        raise StoreError(f"database {where} {_ADVICE['SQLITE_CORRUPT']}") from error


class transaction:  # noqa: N801 (reads as the function it stands for)
    """All of the block, or nothing of it; then `undo` is called. Raises `StoreError` when SQLite refuses.

    The write lock is taken at once: a transaction that starts as a reader can fail half-way when another
    process writes in between, and waiting does not help it. A class, as a generator costs each round twice as much.
    """

    __slots__ = ("_connection", "_undo")

    def __init__(self, connection: sqlite3.Connection, undo: Callable[[], None] | None = None) -> None:
        self._connection = connection
        self._undo = undo

    def __enter__(self) -> None:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            raise as_store_error(error, path_of(self._connection)) from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._connection.execute("COMMIT")
                return
        except BaseException as failed:
            error = failed
        if self._undo is not None:
            self._undo()
        try:
            # A full disk may have rolled it back already.
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error as failed:
            error = failed
        if isinstance(error, sqlite3.Error):
            raise as_store_error(error, path_of(self._connection)) from error
        if kind is None and error is not None:
            raise error
