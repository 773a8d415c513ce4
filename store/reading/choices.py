"""Tree choices: the tree that each task was given and the reason, in rows that rounds refer to."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from spectui.store.clock import now
from spectui.store.reading.reader import Reader


@dataclass(frozen=True)
class TreeChoice:
    """A tree that a task was given."""

    id: int
    task: str
    tree: str
    kind: str
    """Source of the tree: "file" (a plan file); in sessions of earlier versions also "prior" (known before the run),
    "learned" (from its rounds) and "explore" (a trial); later versions may add others."""
    reason: str
    at: str
    """UTC, ISO 8601."""


def add_choice(
    connection: sqlite3.Connection,
    session_id: int,
    task: str,
    tree: str,
    kind: str,
    reason: str,
    *,
    at: str | None = None,
) -> int:
    """Insert a choice of any `kind` and return its id; call within a transaction."""
    row_id = connection.execute(
        "INSERT INTO tree_choice (session_id, task, tree, kind, reason, at) VALUES (?, ?, ?, ?, ?, ?)",
        (session_id, task, tree, kind, reason, at or now()),
    ).lastrowid
    assert row_id is not None
    return row_id


def choices(reader: Reader, session_id: int) -> list[TreeChoice]:
    """All choices of a session, oldest first. Raises `StoreError` when it cannot be read."""
    sql = "SELECT id, task, tree, kind, reason, at FROM tree_choice WHERE session_id = ? ORDER BY id"
    return [TreeChoice(*row) for row in reader.fetch(sql, session_id)]


def choice_of(reader: Reader, choice_id: int) -> TreeChoice | None:
    """The choice that a round refers to. Raises `StoreError` when it cannot be read."""
    sql = "SELECT id, task, tree, kind, reason, at FROM tree_choice WHERE id = ?"
    rows = reader.fetch(sql, choice_id)
    return TreeChoice(*rows[0]) if rows else None


def latest_choices(choices: list[TreeChoice]) -> dict[str, TreeChoice]:
    """The tree that each task has now: its last choice that was no exploration."""
    return {choice.task: choice for choice in choices if choice.kind != "explore"}
