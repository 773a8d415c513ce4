"""A copy of a whole database, of one state, while workers go on writing."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from spectui.store.database import connect
from spectui.store.errors import StoreError
from spectui.store.files import new_file
from spectui.store.paths import expanded
from spectui.store.sqlite.transactions import explained

PAGES = 2000
"""Copied between two calls of `progress`: 8 MB."""


def back_up(
    database: Path,
    out: Path,
    *,
    force: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Write all of `database` to the file `out` (0600), which is there when it is whole; returns its bytes.

    An existing file is replaced with `force` alone, and never the database itself. `progress` is called with bytes,
    done and in all. Sessions at work read "interrupted" in the copy, which has no worker. Raises `StoreError`, with
    nothing left behind, when something cannot be read or written.
    """
    out = expanded(out).absolute()
    with closing(connect(database, read_only=True)) as source:
        if out.exists() and database.exists() and out.samefile(database):
            raise StoreError(f"{out} is the database itself; name another place")
        (page,) = source.execute("PRAGMA page_size").fetchone()
        with new_file(out, force=force) as draft, explained(out):
            with closing(sqlite3.connect(draft, isolation_level=None)) as copy:
                # Nothing is worth a journal: a file that is not finished is removed.
                copy.execute("PRAGMA journal_mode = OFF").fetchall()
                copy.execute("PRAGMA synchronous = OFF")
                # One state: without a transaction the copy would begin again whenever a worker writes.
                source.execute("BEGIN")
                source.execute("SELECT count(*) FROM session").fetchone()
                source.backup(
                    copy,
                    pages=PAGES,
                    progress=lambda _, remaining, total: progress((total - remaining) * page, total * page),
                )
                source.execute("ROLLBACK")
            size = draft.stat().st_size
    return size
