"""One session as a database of its own, which spectui and every SQLite browser open as it is."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from spectui.store.export.tables import CHUNK, TABLES, columns, select
from spectui.store.reading.reader import Reader
from spectui.store.sqlite.interrupts import interruptible
from spectui.store.sqlite.transactions import explained

_OF_SESSION = "WHERE session_id = ?"
_OF_PROMPTS = "WHERE generation_id IN (SELECT id FROM generation WHERE session_id = ?)"
_OTHERS = {
    "session": "WHERE id = ?",
    "event": _OF_SESSION,
    "pruned": _OF_PROMPTS,
    "tree_choice": _OF_SESSION,
    "sweep": "WHERE id = (SELECT sweep_id FROM session WHERE id = ?)",
    "replica": _OF_SESSION,
    "baseline": _OF_SESSION,
    "request": _OF_SESSION,
    "sample": _OF_SESSION,
    "rollup_task": _OF_SESSION,
    "rollup_length": _OF_SESSION,
    "rollup_depth": _OF_SESSION,
    "rollup_block": _OF_PROMPTS,
    "rollup_block_depth": _OF_PROMPTS,
    "token": "WHERE tokenizer_id = (SELECT tokenizer_id FROM session WHERE id = ?)",
}
"""Tables beside `TABLES`, and the rows that belong to a session. Commands stay: they are for its worker alone."""


def copy_session(
    reader: Reader, session_id: int, path: Path, out: Path, progress: Callable[[str, int], None]
) -> dict[str, int]:
    """Write the session into the empty file `path`; returns the rows of each of `TABLES`.

    `out` is what the file will be called, for messages. Ids stay as they are. Call within the reader's
    `snapshot`; `progress` is called with a table and the rows just written to it. Raises `StoreError` when
    something cannot be read or written.
    """
    from spectui.store.schema.migrations import migrate

    with explained(out), closing(sqlite3.connect(path, isolation_level=None)) as connection:
        interruptible(connection)
        # Nothing is worth a journal: a file that is not finished is removed.
        connection.execute("PRAGMA journal_mode = OFF").fetchall()
        connection.execute("PRAGMA synchronous = OFF")
        migrate(connection)
        connection.execute("BEGIN")
        written = dict.fromkeys(TABLES, 0)
        for table in (*_OTHERS, *TABLES):
            names = tuple(column.name for column in columns(reader, table))
            quoted = ", ".join(f'"{name}"' for name in names)
            sql = (
                select(table, names) if table in TABLES else f"SELECT {quoted} FROM {table} {_OTHERS[table]}"
            )
            into = f"INSERT INTO {table} ({quoted}) VALUES ({', '.join('?' * len(names))})"
            for chunk in reader.scan(sql, session_id, chunk=CHUNK):
                connection.executemany(into, chunk)
                if table in written:
                    written[table] += len(chunk)
                    progress(table, len(chunk))
        connection.execute("COMMIT")
    return written
