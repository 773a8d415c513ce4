"""Brings a file's schema up to date, through sqlite-utils' migrations. Import only when there is need."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from sqlite_utils import Database, Migrations

from store.recount_bins import fill_bins
from store.schema import APPLICATION_ID, BINS_STEP, MIGRATION_SET, STEPS

FILLS: dict[str, Callable[[sqlite3.Connection], None]] = {BINS_STEP: fill_bins}
"""Steps whose tables are worked out from the nodes of the sessions that are there already."""


def migrations() -> Migrations:
    """Our migration set with every step of `schema.STEPS`."""
    found = Migrations(MIGRATION_SET)
    for name, statements in STEPS:
        found(name=name)(_step(name, statements))
    return found


def migrate(connection: sqlite3.Connection, *, wal: bool = True) -> None:
    """Apply what is pending, all of it or nothing, one process at a time. Leaves the file in WAL mode if `wal`."""
    db = Database(connection, recursive_triggers=False, execute_plugins=False)
    if not connection.execute("PRAGMA page_count").fetchone()[0]:
        # Only possible before the first table: space that is given up can be handed back in small steps.
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    # sqlite-utils would begin with a read lock and find out too late that another process is at it.
    connection.execute("BEGIN IMMEDIATE")
    try:
        # First, so that whoever looks at the file's first bytes meanwhile never takes it for another program's.
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        migrations().apply(db)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    if wal:
        db.enable_wal()


def _step(name: str, statements: tuple[str, ...]) -> Callable[[Database], None]:
    def apply(db: Database) -> None:
        for statement in statements:
            db.execute(statement)
        if name in FILLS:
            FILLS[name](db.conn)

    apply.__name__ = name
    return apply
