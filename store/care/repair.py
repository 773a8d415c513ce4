"""Repair of counts, for `spectui doctor --repair`: each is computed anew from rounds and nodes.

Nodes and rounds are never touched: a file whose rows are damaged has to be restored from a copy.
"""

from __future__ import annotations

from spectui.store.care.check import check_counts
from spectui.store.care.space import remove_deleted
from spectui.store.counts.recount import rebuild
from spectui.store.counts.rollups import rebuild_blocks
from spectui.store.database import Connection, raw
from spectui.store.reading.reader import Reader
from spectui.store.sqlite.transactions import transaction


def repair(db: Connection) -> list[str]:
    """Rebuild the sums, rollups and blocks of all sessions if any is wrong; returns what was repaired, a line each.

    A session that a worker is at work on is left alone. Each session is a transaction. Raises `StoreError` when
    the file cannot be read or written.
    """
    connection = raw(db)
    remove_deleted(connection)
    wrong = check_counts(connection)
    if not wrong:
        return []
    for summary in Reader(connection).sessions():
        if not summary.live:
            with transaction(connection):
                rebuild(connection, summary.id)
                rebuild_blocks(connection, summary.id)
                connection.execute(
                    "UPDATE session SET prompt_count = (SELECT count(*) FROM generation WHERE session_id = ?1)"
                    " WHERE id = ?1",
                    (summary.id,),
                )
    remaining = set(check_counts(connection))
    return [problem for problem in wrong if problem not in remaining]
