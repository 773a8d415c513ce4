"""Sessions as a user handles them: create, rename, delete, command."""

from __future__ import annotations

from collections.abc import Sequence

from store.database import Connection
from store.records import PromptRecord


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
) -> int:
    """Insert a session ("starting") with its prompts pending in the order given; returns its id."""
    raise NotImplementedError


def send_command(db: Connection, session_id: int, kind: str) -> None:
    """Leave a "pause", "resume", "skip" or "stop" for the worker; `StoreError` when none is at work."""
    raise NotImplementedError


def rename_session(db: Connection, session_id: int, name: str) -> None:
    """Give a session another name."""
    raise NotImplementedError


def delete_session(db: Connection, session_id: int) -> None:
    """Delete a session and all it recorded; `StoreError` while a worker is at work on it."""
    raise NotImplementedError
