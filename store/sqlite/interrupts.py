"""Long statements that can be broken off: by Ctrl-C, and in the dashboard by leaving it."""

from __future__ import annotations

import sqlite3
import threading

_STEPS = 100_000
"""Of SQLite's virtual machine between two looks: a millisecond or two."""

_leaving = threading.Event()


def interruptible(connection: sqlite3.Connection) -> None:
    """Make SQLite look now and then, while it is at a statement, whether that is still wanted.

    Python runs what a signal asks for only between its own instructions. In the main thread the call of a
    function is such a moment: an exception that Ctrl-C raises then ends the statement, as SQLITE_INTERRUPT, of
    which `store.sqlite.transactions` makes a `KeyboardInterrupt` again.
    """
    connection.set_progress_handler(_unwanted, _STEPS)


def _unwanted() -> bool:
    return _leaving.is_set() and threading.current_thread() is not threading.main_thread()


def leave(leaving: bool = True) -> None:
    """Break off what threads other than the main one are reading, and go on doing so; or no more."""
    if leaving:
        _leaving.set()
    else:
        _leaving.clear()
