"""Protects: commands reach the worker they were meant for, once and in order."""

from __future__ import annotations

import pytest
from sqlite_utils import Database

from spectui.store.errors import StoreError
from spectui.store.reading.reader import Reader
from spectui.store.sessions import send_command
from spectui.store.writing.writer import SessionWriter
from tests.store.samples import claimed_writer, make_session


def test_commands_are_taken_once_in_order(db: Database) -> None:
    writer = claimed_writer(db)
    other = claimed_writer(db)
    for kind in ("pause", "resume", "skip"):
        send_command(db, 1, kind)
    send_command(db, 2, "stop")
    reader = Reader(db)
    assert reader.pending_commands(1) == ["pause", "resume", "skip"]
    assert writer.take_commands() == ["pause", "resume", "skip"]
    assert writer.take_commands() == []
    assert reader.pending_commands(1) == []
    assert reader.pending_commands(2) == ["stop"]
    assert other.take_commands() == ["stop"]


def test_looking_for_commands_writes_nothing(db: Database) -> None:
    writer = claimed_writer(db)
    before = db.conn.total_changes
    assert writer.take_commands() == []
    assert db.conn.total_changes == before
    assert not db.conn.in_transaction


def test_a_command_sent_while_the_worker_starts_is_kept_and_one_to_a_worker_that_died_is_not(
    db: Database,
) -> None:
    session_id = make_session(db)
    send_command(db, session_id, "stop")
    writer = SessionWriter(db, session_id)
    writer.claim()
    assert writer.take_commands() == ["stop"]
    send_command(db, session_id, "stop")
    writer.claim()
    assert writer.take_commands() == []


def test_commands_that_make_no_sense_are_refused(db: Database) -> None:
    writer = claimed_writer(db)
    with pytest.raises(StoreError, match="'dance' is not a command; use one of pause, resume, skip, stop"):
        send_command(db, 1, "dance")
    with pytest.raises(StoreError, match="no session 7"):
        send_command(db, 7, "stop")
    writer.set_status("finished")
    with pytest.raises(StoreError, match="is finished: there is no worker to skip it"):
        send_command(db, 1, "skip")
    assert db["command"].count == 0
