"""Samples of watched servers, read back; typed as they were written."""

from __future__ import annotations

from typing import Any

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
    return _typed(rows)


def _typed(rows: list[tuple[Any, ...]]) -> list[tuple[int, Sample]]:
    try:
        return [(row[0], from_row(row[1:])) for row in _SAMPLE.checked(rows)]
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise StoreError(
            "the database is damaged: a sample cannot be read; 'spectui doctor --db FILE' says more"
        ) from error


def plain_stretch(queries: Queries, url: str, seconds: float, most: int) -> tuple[int, list[Sample]] | None:
    """The newest watch of an address in which it decoded plainly, and the last of those samples of one segment.

    As many as `most`, of `seconds` at most. None where it never did.
    """
    newest = queries.fetch(
        "SELECT id, segment, at FROM session, sample WHERE session_id = id AND source = ? AND deleted_at IS NULL"
        " AND json_extract(server, '$.url') = ? AND speculative = 0 ORDER BY id DESC, at DESC LIMIT 1",
        WATCH,
        url,
    )
    if not newest:
        return None
    session_id, segment, end = newest[0]
    rows = queries.fetch(
        f"SELECT {_COLUMNS} FROM sample WHERE session_id = ? AND segment = ? AND at BETWEEN ? AND ?"
        " ORDER BY at DESC LIMIT ?",
        session_id,
        segment,
        end - seconds,
        end,
        most,
    )
    return session_id, [sample for _, sample in _typed(rows[::-1])]


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
