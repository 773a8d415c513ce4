"""Samples of watched servers, read back; typed as they were written."""

from __future__ import annotations

from spectui.store.errors import StoreError
from spectui.store.reading.queries import Queries
from spectui.store.samples import SCALARS, Sample, from_row
from spectui.store.sources import WATCH
from spectui.store.sqlite.typed import Typed, declared

_TYPES = {name: declared(Sample)[name] for name in SCALARS}
_SAMPLE = Typed("a sample", {"segment": "int", **_TYPES, "more": "str"}, finite=True)
_COLUMNS = ", ".join(("segment", *SCALARS, "more"))


def samples(queries: Queries, session_id: int, after: float = 0.0) -> list[tuple[int, Sample]]:
    """The samples of a session behind a time, oldest first, with their segments."""
    rows = queries.fetch(
        f"SELECT {_COLUMNS} FROM sample WHERE session_id = ? AND at > ? ORDER BY at", session_id, after
    )
    try:
        return [(row[0], from_row(row[1:])) for row in _SAMPLE.checked(rows)]
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise StoreError(
            "the database is damaged: a sample cannot be read; 'spectui doctor --db FILE' says more"
        ) from error


def watched_together(queries: Queries, session_id: int) -> list[int]:
    """The sessions that were recorded in one watch, in the order of their servers; the session alone where none."""
    rows = queries.fetch(
        "SELECT id FROM session WHERE source = ? AND deleted_at IS NULL"
        " AND json_extract(config, '$.watch.group') = (SELECT json_extract(config, '$.watch.group')"
        " FROM session WHERE id = ?) ORDER BY id",
        WATCH,
        session_id,
    )
    return [row[0] for row in rows] or [session_id]


def plain_sessions(queries: Queries, url: str) -> list[int]:
    """Watches of an address in which it decoded plainly at some time, the newest first."""
    rows = queries.fetch(
        "SELECT id FROM session WHERE source = ? AND deleted_at IS NULL AND json_extract(server, '$.url') = ?"
        " AND EXISTS (SELECT 1 FROM sample WHERE session_id = session.id AND speculative = 0)"
        " ORDER BY id DESC LIMIT 5",
        WATCH,
        url,
    )
    return [row[0] for row in rows]
