"""What the dashboard tells a worker: a row in the database, nothing else."""

from __future__ import annotations

from pathlib import Path

from store.database import connect
from store.sessions import send_command


def tell(database: Path, session_id: int, kind: str) -> None:
    """Send "pause", "resume", "skip" or "stop". Raises `StoreError` when no worker is at work."""
    db = connect(database, create=False)
    try:
        send_command(db, session_id, kind)
    finally:
        db.close()
