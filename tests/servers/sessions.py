"""Sessions on a server, run in this process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from spectui.decoding.config import RunConfig
from spectui.decoding.worker.process import run
from spectui.servers.worker.__main__ import ask
from spectui.store.database import connect
from spectui.store.records import PromptRecord
from spectui.store.sessions import create_session

TEXTS = (
    ("code", "Write a function that reverses a list."),
    ("math", "What is 17 * 24? Show the steps."),
    ("code", "Count from one to ten in words."),
    ("math", "Repeat three times: two and two make four."),
)


def new_session(
    database: Path, server: str, texts: Sequence[tuple[str, str]] = TEXTS, **config: object
) -> int:
    """A session that waits for its worker."""
    settings = RunConfig.from_dict({"raw": False, "server": server, "max_new_tokens": 20, **config})
    db = connect(database)
    session = create_session(
        db, config_json=settings.to_json(), target="", drafter="", tree="",
        prompts=[PromptRecord(f"{task}-{i}", task, text) for i, (task, text) in enumerate(texts)],
    )  # fmt: skip
    db.close()
    return session


def work(database: Path, session: int, *, force: bool = False) -> int:
    """Run a session to its end; the worker's exit code."""
    return run(ask, database, session, force=force)
