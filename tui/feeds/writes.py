"""Everything that the dashboard and the command line write about sessions: commands to a worker, names, tags, notes."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from spectui.store.care.space import delete_session
from spectui.store.database import Connection, connect
from spectui.store.errors import LOCKED, DatabaseTrouble, StoreError
from spectui.store.labels import read_tags
from spectui.store.reading.reader import Reader
from spectui.store.rows import LIVE_STATUSES, Worker
from spectui.store.sessions import rename_session, send_command, set_notes, set_tags


def send(database: Path, session_id: int, kind: str) -> bool:
    """Send "pause", "resume", "skip" or "stop" to a worker; returns True when it was sent as a signal.

    A stop that cannot be written, on a full disk or in another user's database, is sent as a signal to the
    worker where it is a process of this system. Raises `StoreError` when no worker is at work and when the
    command could not be sent.
    """
    try:
        db = connect(database, create=False)
    except StoreError as error:
        return _without_writing(database, session_id, kind, error)
    try:
        send_command(db, session_id, kind)
    except DatabaseTrouble as error:
        return _without_writing(database, session_id, kind, error)
    finally:
        db.close()
    return False


def _without_writing(database: Path, session_id: int, kind: str, trouble: StoreError) -> bool:
    try:
        with Reader(database) as reader:
            worker, status = reader.worker(session_id), reader.session(session_id).status
    except StoreError:  # there is no way in at all
        raise trouble from None
    if worker is None or status not in LIVE_STATUSES:
        raise trouble from None
    if kind != "stop" and worker.stopped and LOCKED in str(trouble):
        raise StoreError(f"{kind} was not sent: {locked_words(database, trouble)}") from trouble
    if kind != "stop":
        raise StoreError(
            f"{trouble}; the run can be ended without a write: spectui sessions stop {session_id}"
        ) from trouble
    if not worker.local:
        raise StoreError(f"{trouble}; end it there: {kill_words(worker)}") from trouble
    if not worker.known:
        raise StoreError(
            f"{trouble}; where process {worker.pid} is its worker, end it with: {kill_words(worker)}"
        )
    try:
        os.kill(worker.pid, signal.SIGTERM)
    except ProcessLookupError:
        pass  # it ended just now
    except PermissionError:
        raise StoreError(
            f"{trouble}; its worker is another user's: that user, or root, ends it with: kill {worker.pid}"
        ) from trouble
    return True


def locked_words(database: Path, trouble: StoreError) -> str:
    """The trouble of a locked database in words: a worker of its own that a signal stopped is no other program."""
    try:
        with Reader(database) as reader:
            live = [summary.id for summary in reader.sessions() if summary.live]
            frozen = [each for session in live if (each := reader.worker(session)) and each.stopped]
    except StoreError:
        return str(trouble)
    if not frozen:
        return str(trouble)
    its, _, _ = str(trouble).partition(LOCKED)
    who = " and ".join(f"process {each.pid} on {each.host}" for each in frozen)
    let = "; ".join(kill_words(each, "-CONT") for each in frozen)
    return f"{its}{LOCKED}, most likely by a worker that a signal stopped ({who}); let it go on with: {let}"


def frozen_words(worker: Worker) -> str:
    """The worker, as one that a signal has stopped."""
    return f"its worker, process {worker.pid} on {worker.host}, was stopped by a signal"


def kill_words(worker: Worker, option: str = "") -> str:
    """``kill 4711``, and where, when that is not here."""
    words = f"kill {option} {worker.pid}" if option else f"kill {worker.pid}"
    return words if worker.local else f"{words} on {worker.host}"


Edit = Callable[[Path, int, str], None]
"""Database, session, what was typed. Raises `StoreError` in words fit to be shown."""


@contextmanager
def _opened(database: Path) -> Iterator[Connection]:
    """A connection to write with, whose trouble names a frozen worker that holds the database."""
    try:
        with closing(connect(database, create=False)) as db:
            yield db
    except DatabaseTrouble as trouble:
        if LOCKED not in str(trouble):
            raise
        raise DatabaseTrouble(locked_words(database, trouble)) from trouble


def rename(database: Path, session_id: int, text: str) -> None:
    """Give a session the name typed."""
    with _opened(database) as db:
        rename_session(db, session_id, text)


def tag(database: Path, session_id: int, text: str) -> None:
    """Give a session the tags typed and no others."""
    with _opened(database) as db:
        set_tags(db, session_id, read_tags(text))


def note(database: Path, session_id: int, text: str) -> None:
    """Write the note typed in place of what stood there."""
    with _opened(database) as db:
        set_notes(db, session_id, text)


def delete_all(database: Path, to_delete: Mapping[int, str]) -> list[str]:
    """Delete these sessions (id -> name); returns what could not be, a line each."""
    problems = []
    with _opened(database) as db:
        for session_id, name in to_delete.items():
            try:
                delete_session(db, session_id)
            except StoreError as error:
                problems.append(f"'{name}' was not deleted: {error}")
    return problems
