"""Protects: a session whose worker is gone reads "interrupted", and one that is at work never does."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psutil
import pytest
from sqlite_utils import Database

from spectui.store.errors import StoreError
from spectui.store.liveness import effective_status, process_is_alive
from spectui.store.reading.reader import Reader
from spectui.store.rows import LIVE_STATUSES, SESSION_STATUSES
from spectui.store.sessions import send_command
from spectui.store.writing.writer import SessionWriter
from tests.store.samples import claimed_writer, make_session


def ago(seconds: float) -> str:
    return (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat()


def status(
    recorded: str = "running",
    *,
    pid: int | None = 1,
    pid_created: float | None = None,
    host: str = "elsewhere",
    heartbeat_at: str | None = None,
    created_at: str | None = None,
) -> str:
    return effective_status(
        recorded,
        pid=pid,
        pid_created=pid_created,
        host=host,
        heartbeat_at=heartbeat_at,
        created_at=created_at or ago(3600),
    )


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """A process that waits for its stdin to end."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as started:
        yield started
        started.kill()


def test_on_this_host_the_process_decides(process: subprocess.Popen[bytes]) -> None:
    host = socket.gethostname()
    created = psutil.Process(process.pid).create_time()
    assert status(pid=process.pid, pid_created=created, host=host, heartbeat_at=ago(3600)) == "running"
    assert status("paused", pid=process.pid, pid_created=created, host=host) == "paused"
    # The pid now belongs to another process than the one that wrote the row.
    assert status(pid=process.pid, pid_created=created - 500, host=host, heartbeat_at=ago(0)) == "interrupted"
    process.kill()
    # Killed and not waited for: a zombie still has its pid.
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert psutil.pid_exists(process.pid)
    assert status(pid=process.pid, pid_created=created, host=host, heartbeat_at=ago(0)) == "interrupted"
    process.wait()
    assert not process_is_alive(process.pid, created)
    assert status(pid=process.pid, pid_created=created, host=host, heartbeat_at=ago(0)) == "interrupted"


def test_on_another_host_the_heartbeat_decides() -> None:
    assert status(heartbeat_at=ago(5)) == "running"
    assert status(heartbeat_at=ago(31)) == "interrupted"
    assert status(heartbeat_at=None) == "interrupted"
    assert status(heartbeat_at="not a time") == "interrupted"


def test_a_session_waits_a_minute_for_its_worker() -> None:
    assert status("starting", pid=None, created_at=ago(20)) == "starting"
    assert status("starting", pid=None, created_at=ago(61)) == "interrupted"


@pytest.mark.parametrize("recorded", [s for s in SESSION_STATUSES if s not in LIVE_STATUSES])
def test_what_ended_stays_as_it_was_recorded(recorded: str) -> None:
    assert status(recorded, heartbeat_at=ago(9999)) == recorded


def test_a_dead_worker_shows_in_every_view_and_takes_no_commands(
    db: Database, process: subprocess.Popen[bytes]
) -> None:
    session_id = make_session(db)
    writer = SessionWriter(db, session_id)
    writer.claim(pid=process.pid)
    writer.set_status("running")
    reader = Reader(db)
    assert reader.session(session_id).status == reader.sessions()[0].status == "running"
    process.kill()
    process.wait()
    summary = reader.session(session_id)
    assert (summary.status, summary.recorded_status, summary.live) == ("interrupted", "running", False)
    assert reader.sessions()[0].status == "interrupted"
    with pytest.raises(StoreError, match="is interrupted: there is no worker to pause it"):
        send_command(db, session_id, "pause")


def test_one_worker_at_a_time(db: Database, process: subprocess.Popen[bytes]) -> None:
    session_id = make_session(db)
    SessionWriter(db, session_id).claim(pid=process.pid)
    writer = SessionWriter(db, session_id)
    with pytest.raises(StoreError, match=f"process {process.pid} on .* is at work on it"):
        writer.claim()
    process.kill()
    process.wait()
    writer.claim()
    row = Reader(db).session(session_id)
    assert (row.pid, row.host, row.status) == (os.getpid(), socket.gethostname(), "starting")
    assert row.pid_created == pytest.approx(psutil.Process().create_time(), abs=1)


def test_a_worker_on_another_host_is_respected_while_it_is_heard(db: Database) -> None:
    session_id = make_session(db)
    SessionWriter(db, session_id).claim(pid=os.getpid(), host="elsewhere", pid_created=1.0)
    with pytest.raises(StoreError, match="on elsewhere is at work"):
        SessionWriter(db, session_id).claim()
    db.execute("UPDATE session SET heartbeat_at = ?", [ago(60)])
    SessionWriter(db, session_id).claim()
    assert Reader(db).session(session_id).status == "starting"


def test_a_worker_of_another_container_is_not_taken_for_ourselves(db: Database) -> None:
    """Containers that share their host's name number their processes alike: a second --resume would decode, too."""
    session_id = make_session(db)
    SessionWriter(db, session_id).claim()
    elsewhere = json.dumps(json.loads(db.table("session").get(session_id)["worker_place"]) | {"pids": 1})
    db.execute("UPDATE session SET worker_place = ?", [elsewhere])
    with pytest.raises(StoreError, match=f"process {os.getpid()} on .* is at work"):
        SessionWriter(db, session_id).claim()
    db.execute("UPDATE session SET heartbeat_at = ?", [ago(60)])
    SessionWriter(db, session_id).claim()
    assert Reader(db).session(session_id).status == "starting"


def test_a_worker_may_claim_again_what_ended(db: Database) -> None:
    writer = claimed_writer(db)
    writer.set_status("failed", error="boom")
    writer.claim()
    summary = Reader(db).session(1)
    assert (summary.status, summary.error, summary.ended_at) == ("starting", None, None)


def test_what_is_no_pid_is_no_process() -> None:
    assert not process_is_alive(-1, None)
