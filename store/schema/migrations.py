"""Migration of a file's schema by sqlite-utils. Import only when there is need."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from sqlite_utils import Database, Migrations

from spectui.store.counts.recount import fill_bins
from spectui.store.schema.steps import APPLICATION_ID, BINS_STEP, MIGRATION_SET, STEPS

FILLS: dict[str, Callable[[sqlite3.Connection], None]] = {BINS_STEP: fill_bins}
"""Steps whose tables are filled from the nodes of existing sessions."""


def migrations() -> Migrations:
    """Our migration set with every step of `schema.STEPS`."""
    steps = Migrations(MIGRATION_SET)
    for name, statements in STEPS:
        steps(name=name)(_step(name, statements))
    return steps


def migrate(connection: sqlite3.Connection) -> None:
    """Apply pending steps, all of them or none, one process at a time."""
    db = Database(connection, recursive_triggers=False, execute_plugins=False)
    if connection.execute("PRAGMA page_count").fetchone()[0]:
        # sqlite-utils would begin with a read lock and find out too late that another process is at it.
        begin = ["BEGIN IMMEDIATE"]
    else:
        # Only possible before the first table: space that is given up can be handed back in small steps.
        # It locks as IMMEDIATE does; before the transaction it would write a first page on its own.
        begin = ["BEGIN", "PRAGMA auto_vacuum = INCREMENTAL"]
    try:
        # The identity first, so that a reader of the first bytes never sees a file without one.
        for statement in (*begin, f"PRAGMA application_id = {APPLICATION_ID}"):
            connection.execute(statement)
        migrations().apply(db)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _step(name: str, statements: tuple[str, ...]) -> Callable[[Database], None]:
    def apply(db: Database) -> None:
        for statement in statements:
            db.execute(statement)
        if name in FILLS:
            FILLS[name](db.conn)

    apply.__name__ = name
    return apply
