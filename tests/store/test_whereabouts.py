"""Protects: a pid alone says nobody is at work: not in a copy, not in a container, not after a restart."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from spectui.store import whereabouts
from spectui.store.care.space import delete_session
from spectui.store.database import connect
from spectui.store.errors import StoreError
from spectui.store.liveness import effective_status, silent_seconds
from spectui.store.reading.reader import Reader
from spectui.store.sessions import send_command
from spectui.store.whereabouts import Whereabouts, identity, read_whereabouts
from spectui.store.writing.writer import SessionWriter
from tests.store.samples import make_session


def ago(seconds: float) -> str:
    return (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat()


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """A process that waits for its stdin to end."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as started:
        yield started
        started.kill()


@pytest.fixture
def running(path: Path, process: subprocess.Popen[bytes]) -> Path:
    """A database with a session that another process is at work on."""
    with closing(connect(path)) as db:
        writer = SessionWriter(db, make_session(db))
        writer.claim(pid=process.pid)
        writer.set_status("running")
    return path


def test_a_copy_has_no_worker_while_the_original_has(running: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copy(running, tmp_path / "copy.db"))
    with Reader(running) as original, Reader(copy) as of_copy:
        assert original.session(1).status == "running"
        assert of_copy.session(1).status == of_copy.sessions()[0].status == "interrupted"
    with closing(connect(copy)) as db:
        with pytest.raises(StoreError, match="is interrupted: there is no worker to stop it"):
            send_command(db, 1, "stop")
        SessionWriter(db, 1).claim()  # as a resumed run does
        assert Reader(db).session(1).status == "starting"
        SessionWriter(db, 1).set_status("stopped")
        delete_session(db, 1)
        assert Reader(db).sessions() == []
    with Reader(running) as original:
        assert original.session(1).status == "running"


@pytest.mark.parametrize("how", ["moved", "linked", "symlinked"])
def test_a_file_that_goes_by_another_name_still_has_its_worker(
    running: Path, tmp_path: Path, how: str
) -> None:
    other = tmp_path / "other.db"
    if how == "moved":
        running.rename(other)
    elif how == "linked":
        other.hardlink_to(running)
    else:
        other.symlink_to(running)
    with Reader(other) as reader:
        assert reader.session(1).status == "running"
    with closing(connect(other)) as db, pytest.raises(StoreError, match="stop it before deleting it"):
        delete_session(db, 1)


def test_a_file_server_may_number_files_otherwise_so_that_the_heartbeat_decides(
    running: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen from elsewhere, or copied: only whether it goes on tells the two apart."""
    copy = Path(shutil.copy(running, tmp_path / "copy.db"))
    monkeypatch.setattr(whereabouts, "network_kind", lambda path: "fuse.sshfs")
    with Reader(copy) as reader:
        assert reader.session(1).status == "running"
    with closing(connect(copy)) as db:
        db.execute("UPDATE session SET heartbeat_at = ?", [ago(31)])
        assert Reader(db).session(1).status == "interrupted"


def status(place: Whereabouts, *, pid: int, heartbeat: float = 3600, created: float | None = None) -> str:
    return effective_status(
        "running", pid=pid, pid_created=created, host=socket.gethostname(), heartbeat_at=ago(heartbeat),
        created_at=ago(9999), worker_place=place.to_json(),
    )  # fmt: skip


def test_the_same_pid_on_another_system_is_another_process(process: subprocess.Popen[bytes]) -> None:
    """After a restart, and in a container of the same name; whoever is there still says so every second."""
    place = whereabouts.whereabouts(process.pid, "")
    assert status(place, pid=process.pid) == "running"
    for other in (
        Whereabouts("before", place.pids, place.started),
        Whereabouts(place.boot, place.pids + 1, place.started),
    ):
        assert status(other, pid=process.pid) == "interrupted"
        assert status(other, pid=process.pid, heartbeat=2) == "running"
    assert status(Whereabouts(place.boot, place.pids, place.started + 5), pid=process.pid) == "interrupted"


def test_a_clock_that_is_set_makes_no_worker_another(process: subprocess.Popen[bytes]) -> None:
    place = whereabouts.whereabouts(process.pid, "")
    assert status(place, pid=process.pid, created=1000.0) == "running"
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert status(place, pid=process.pid) == "interrupted", "a zombie"


@pytest.mark.parametrize(
    "text", ["", "nonsense", "[]", '{"boot": 1}', '{"pids": "x"}', "null", '{"inode": true}']
)
def test_whatever_a_file_says_is_read_as_nothing_known(text: str) -> None:
    assert read_whereabouts(text) == Whereabouts()


def test_a_worker_that_is_not_heard_of_is_silent_from_ten_seconds_on(
    process: subprocess.Popen[bytes],
) -> None:
    def silent(seconds: float, status: str = "running", host: str = socket.gethostname()) -> int | None:
        return silent_seconds(
            status, pid=process.pid, host=host, heartbeat_at=ago(seconds), created_at=ago(9999)
        )

    assert [silent(s) for s in (0, 5, 9.5, 10.5, 37.2)] == [None, None, None, 10, 37]
    assert silent(37.2, "paused") == 37
    assert silent(37.2, "finished") is silent(37.2, "interrupted") is None
    assert silent(15, host="elsewhere") is None
    assert silent(25, host="elsewhere") == 25
    assert silent(-3600) is None, "a clock that was set back"


def test_the_place_of_a_database_is_not_that_of_a_folder_without_it(tmp_path: Path) -> None:
    assert identity(tmp_path / "nothing") is None
    assert identity("(in memory)") is None
