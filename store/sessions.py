"""Sessions as a user handles them: create, rename, tag, note, command. Deleting is in `store.care.space`."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

from spectui.store.clock import now
from spectui.store.database import Connection, raw
from spectui.store.errors import StoreError
from spectui.store.labels import check_name, check_tags, fresh_name, join_tags
from spectui.store.liveness import WORKER_COLUMNS, effective_status
from spectui.store.records import PromptRecord
from spectui.store.rows import COMMANDS, LIVE_STATUSES
from spectui.store.sqlite.transactions import path_of, transaction
from spectui.store.whereabouts import identity

MAX_NOTES = 2000
"""Characters."""


def create_session(
    db: Connection,
    *,
    name: str | None = None,
    config_json: str,
    target: str,
    drafter: str,
    tree: str,
    prompts: Sequence[PromptRecord],
    notes: str = "",
    positions: Sequence[int] | None = None,
    shard_json: str | None = None,
    cell: tuple[int, str] | None = None,
) -> int:
    """Insert a session ("starting") with its prompts pending in the order given; returns its id.

    `positions` are those of the prompts among all of the run, where these are but a shard of them; `cell` is the
    session's place in a sweep. Without a name it gets a memorable one. Raises `StoreError` when the name is taken or
    unfit, when the sweep has a session of that cell, or when there are no prompts.
    """
    if not prompts:
        raise StoreError("a session needs at least one prompt")
    connection = raw(db)
    with transaction(connection):
        name = fresh_name(_names(connection)) if name is None else _free_name(connection, name)
        sweep_id, combination = cell or (None, None)
        of_cell = connection.execute(
            "SELECT name FROM session WHERE sweep_id = ? AND cell = ? AND deleted_at IS NULL",
            (sweep_id, combination),
        ).fetchone()
        if of_cell is not None:
            raise StoreError(
                f"session '{of_cell[0]}' has this cell of the sweep; is it being run from elsewhere, too?"
            )
        session_id = connection.execute(
            "INSERT INTO session (name, status, created_at, config, target, drafter, tree, notes, prompt_count, shard,"
            " sweep_id, cell) VALUES (?, 'starting', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                name,
                now(),
                config_json,
                target,
                drafter,
                tree,
                notes,
                len(prompts),
                shard_json,
                sweep_id,
                combination,
            ),
        ).lastrowid
        connection.executemany(
            "INSERT INTO generation (session_id, position, prompt_id, task, prompt_text, messages)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            [
                (session_id, position, p.prompt_id, p.task, p.text, p.messages)
                for position, p in zip(
                    range(len(prompts)) if positions is None else positions, prompts, strict=True
                )
            ],
        )
    assert session_id is not None
    return session_id


def send_command(db: Connection, session_id: int, kind: str) -> None:
    """Leave a "pause", "resume", "skip" or "stop" for the worker; `StoreError` when none is at work."""
    if kind not in COMMANDS:
        raise StoreError(f"'{kind}' is not a command; use one of {', '.join(COMMANDS)}")
    connection = raw(db)
    with transaction(connection):
        name, status = name_and_status(connection, session_id)
        if status not in LIVE_STATUSES:
            raise StoreError(f"session '{name}' is {status}: there is no worker to {kind} it")
        connection.execute(
            "INSERT INTO command (session_id, kind, created_at) VALUES (?, ?, ?)", (session_id, kind, now())
        )


def rename_session(db: Connection, session_id: int, name: str) -> None:
    """Give a session another name. Raises `StoreError` when it is taken or unfit."""
    connection = raw(db)
    with transaction(connection):
        old, _ = name_and_status(connection, session_id)
        if name.strip() != old:
            name = _free_name(connection, name)
            connection.execute("UPDATE session SET name = ? WHERE id = ?", (name, session_id))


def set_tags(db: Connection, session_id: int, tags: Iterable[str]) -> None:
    """Give a session these tags and no others. Raises `StoreError` for what `store.labels` refuses."""
    _set(db, session_id, "tags", join_tags(check_tags(tags)))


def set_notes(db: Connection, session_id: int, notes: str) -> None:
    """Write a session's notes in place of what stood there. Raises `StoreError` when they are too long."""
    if len(notes) > MAX_NOTES:
        raise StoreError(f"the notes have {len(notes)} characters; use at most {MAX_NOTES}")
    _set(db, session_id, "notes", notes.strip())


def _set(db: Connection, session_id: int, column: str, value: str) -> None:
    connection = raw(db)
    with transaction(connection):
        name_and_status(connection, session_id)
        connection.execute(f"UPDATE session SET {column} = ? WHERE id = ?", (value, session_id))


def name_and_status(connection: sqlite3.Connection, session_id: int) -> tuple[str, str]:
    """Name and effective status. Raises `StoreError` when there is no such session."""
    row = connection.execute(
        f"SELECT name, status, {', '.join(WORKER_COLUMNS)} FROM session WHERE id = ? AND deleted_at IS NULL",
        (session_id,),
    ).fetchone()
    if row is None:
        raise StoreError(f"there is no session {session_id}; 'spectui sessions ls' lists them")
    name, status, *worker = row
    file = identity(path_of(connection))
    return name, effective_status(status, **dict(zip(WORKER_COLUMNS, worker, strict=True)), file=file)


def _names(connection: sqlite3.Connection) -> set[str]:
    return {name for (name,) in connection.execute("SELECT name FROM session")}


def _free_name(connection: sqlite3.Connection, name: str) -> str:
    name = check_name(name)
    if connection.execute("SELECT 1 FROM session WHERE name = ?", (name,)).fetchone():
        raise StoreError(f"there is a session named '{name}' already; choose another name")
    return name
