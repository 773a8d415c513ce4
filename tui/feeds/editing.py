"""What the dashboard writes to the database about sessions, each in a connection of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

from spectui.store.care.space import delete_session
from spectui.store.database import connect
from spectui.store.errors import StoreError
from spectui.store.sessions import rename_session, set_notes, set_tags
from spectui.store.tags import read_tags

Edit = Callable[[Path, int, str], None]
"""Database, session, what was typed. Raises `StoreError` in words fit to be shown."""


def rename(database: Path, session_id: int, text: str) -> None:
    """Give a session the name typed."""
    with closing(connect(database, create=False)) as db:
        rename_session(db, session_id, text)


def tag(database: Path, session_id: int, text: str) -> None:
    """Give a session the tags typed and no others."""
    with closing(connect(database, create=False)) as db:
        set_tags(db, session_id, read_tags(text))


def note(database: Path, session_id: int, text: str) -> None:
    """Write the note typed in place of what stood there."""
    with closing(connect(database, create=False)) as db:
        set_notes(db, session_id, text)


def delete_all(database: Path, doomed: Mapping[int, str]) -> list[str]:
    """Delete these sessions (id -> name); returns what could not be, a line each."""
    problems = []
    with closing(connect(database, create=False)) as db:
        for session_id, name in doomed.items():
            try:
                delete_session(db, session_id)
            except StoreError as error:
                problems.append(f"'{name}' was not deleted: {error}")
    return problems
