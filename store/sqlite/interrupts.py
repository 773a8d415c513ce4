"""Interruption of long statements: by Ctrl-C, and in the dashboard by leaving it."""

from __future__ import annotations

import sqlite3
import threading

_STEPS = 100_000
"""Steps of SQLite's virtual machine between two checks: a millisecond or two."""

_leaving = threading.Event()


def interruptible(connection: sqlite3.Connection) -> None:
    """Make SQLite ask now and then, during a statement, if it is still wanted.

    Python runs what a signal asks for only between its own instructions. In the main thread the call of a
    function is such a moment: an exception that Ctrl-C raises then ends the statement, as SQLITE_INTERRUPT, of
    which `store.sqlite.transactions` makes a `KeyboardInterrupt` again.
    """
    connection.set_progress_handler(_unwanted, _STEPS)


def _unwanted() -> bool:
    return _leaving.is_set() and threading.current_thread() is not threading.main_thread()


def interrupt_reads(leaving: bool = True) -> None:
    """Interrupt reads of threads other than the main one, those to come included; or no more."""
    if leaving:
        _leaving.set()
    else:
        _leaving.clear()
