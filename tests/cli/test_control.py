"""Protects `sessions stop|pause|resume|skip`, `run --resume` and the limits of `run`, up to a real worker."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from spectui.decoding.options import read_duration
from spectui.decoding.worker import launch
from spectui.store.database import connect
from spectui.store.errors import StoreError
from spectui.store.schema import check as schema_check
from spectui.store.schema import migrations
from spectui.store.schema import steps as schema
from spectui.store.writing.writer import SessionWriter
from spectui.tui.cli.follow import Follower
from spectui.tui.feeds.writes import _without_writing, note
from tests.cli.conftest import SPECTUI, Invoke
from tests.decoding.worker.workers import Worked, make_model
from tests.store.samples import make_session
from tests.waiting import until


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("control") / "tiny"
    make_model(folder, endless=True)
    return folder


@pytest.fixture
def session(tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Worked]:
    """A session without an end; `launch_worker` starts its workers from the fork server."""
    worked = Worked(tmp_path, tiny, "friday", max_new_tokens=3000, tree="chain:1")

    def start(database: Path, session_id: int, *, module: str, force: bool = False, replicas: None) -> int:
        assert (database, session_id) == (worked.database, worked.id)
        worked.work(force=force)
        return worked.pid

    monkeypatch.setattr(launch, "launch_worker", start)
    yield worked
    worked.close()


def test_a_run_is_controlled_from_anywhere_and_goes_on_where_it_was(session: Worked, invoke: Invoke) -> None:
    def tell(*words: str) -> str:
        result = invoke("--db", session.database, *words)
        assert result.exit_code == 0, result.stderr
        return result.stdout.rstrip()

    session.work()
    session.until_rounds(2)
    assert tell("sessions", "pause", "friday") == "session 1 'friday': paused"
    frozen = session.now().rounds
    assert tell("sessions", "skip", "friday") == "session 1 'friday': skipped its prompt"
    session.until_rounds(frozen + 2)
    assert tell("sessions", "pause") == "session 1 'friday': paused"
    assert tell("sessions", "resume") == "session 1 'friday': running"
    assert tell("sessions", "stop") == "session 1 'friday': stopped"
    assert session.ended() == 0
    assert "watch it" in tell("run", "--resume", "friday", "--detach")
    until(lambda: session.now().status == "running")
    until(lambda: [g.status for g in session.reader.generations(1)][:2] == ["skipped", "running"])
    again = invoke("--db", session.database, "run", "--resume", "friday")
    assert again.exit_code == 2
    assert again.stderr == "spectui: session 'friday' is running; watch it with: spectui attach 1\n"
    assert tell("sessions", "stop") == "session 1 'friday': stopped"
    assert session.problems() == []
    shown = tell("sessions", "show", "friday")
    assert "resumed: 1 half-done prompt began again" in shown


def test_there_is_nothing_to_tell_a_session_without_a_worker(session: Worked, invoke: Invoke) -> None:
    session.work()
    session.until_rounds(1)
    session.kill()
    for kind in ("stop", "pause", "skip"):
        refused = invoke("--db", session.database, "sessions", kind)
        assert refused.exit_code == 2
        assert refused.stderr == (
            f"spectui: session 'friday' is interrupted: there is no worker to {kind} it\n"
        )
    refused = invoke("--db", session.database, "sessions", "resume")
    assert refused.exit_code == 2
    assert refused.stderr.endswith(f"go on with: spectui run --resume 1 --db {session.database}\n")


def test_a_command_the_worker_has_not_obeyed_yet_is_said_to_be_pending(
    session: Worked, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spectui.tui.cli.commands.control.ANSWER_S", 0.0)
    done = invoke("--db", session.database, "sessions", "stop")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == (
        "spectui: session 1 'friday' has not stopped yet: no worker has taken it; stop stays pending until one does\n"
    )
    assert session.reader.pending_commands(1) == ["stop"]


def test_a_frozen_worker_is_shown_as_one_and_obeys_nothing(
    session: Worked, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As SIGSTOP, a freezer, a suspended machine or a device that hangs leave it."""
    monkeypatch.setattr("spectui.tui.cli.commands.control.ANSWER_S", 0.0)
    monkeypatch.setattr("spectui.tui.cli.follow.SIGN_OF_LIFE_S", 0.0)
    session.work()
    session.until_rounds(2)
    session.freeze(writing=False)
    for kind, past in (("pause", "paused"), ("skip", "skipped its prompt"), ("stop", "stopped")):
        refused = invoke("--db", session.database, "sessions", kind)
        assert (refused.exit_code, refused.stdout) == (1, "")
        assert refused.stderr == (
            f"spectui: session 1 'friday' has not {past}: its worker, process {session.pid} on {socket.gethostname()}, "
            f"was stopped by a signal; it goes on, and obeys, with: kill -CONT {session.pid}\n"
        )
    # What it said last was 37 seconds ago.
    with closing(connect(session.database)) as db:
        then = datetime.now(UTC) - timedelta(seconds=37.2)
        db.execute("UPDATE session SET heartbeat_at = ?", [then.isoformat()])
    said = r"no sign of life for (3[789]|4\d) s"
    assert re.search(rf"running, {said}", invoke("--db", session.database, "sessions", "ls").stdout)
    shown = invoke("--db", session.database, "sessions", "show").stdout
    assert re.search(rf"status +running, {said}", shown)
    who = f"process {session.pid} on {socket.gethostname()}"
    assert re.search(rf"worker +{who}, stopped by a signal", shown)
    (row,) = json.loads(invoke("--db", session.database, "sessions", "ls", "--json").stdout)
    assert 37 <= row["silent_seconds"] < 50
    lines: list[str] = []
    follower = Follower(session.reader, 1, lines.append)
    for _ in range(2):  # the stage, then a sign of life
        follower.until_end(time.monotonic())
    assert re.fullmatch(rf"\d\d:\d\d:\d\d  running: {said} from {who}", lines[-1])
    os.kill(session.pid, signal.SIGCONT)
    assert session.ended() == 0, session.log_text()
    assert session.now().silent_seconds is None


def test_a_worker_frozen_while_it_writes_is_named_as_the_one_that_holds_the_database(
    session: Worked, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was "locked by another program; close it", and to end the run was said to need no room."""
    monkeypatch.setattr("spectui.tui.cli.commands.control.ANSWER_S", 0.0)
    monkeypatch.setattr("spectui.tui.feeds.writes.connect", partial(connect, timeout=0.1))
    session.work()
    session.until_rounds(2)
    session.freeze(writing=True)
    who = f"process {session.pid} on {socket.gethostname()}"
    locked = (
        f"database {session.database} is locked, most likely by a worker that a signal stopped ({who}); "
        f"let it go on with: kill -CONT {session.pid}"
    )
    refused = invoke("--db", session.database, "sessions", "pause")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert refused.stderr == f"spectui: pause was not sent: {locked}\n"
    refused = invoke("--db", session.database, "sessions", "stop")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert refused.stderr == (
        f"spectui: session 1 'friday' has not stopped: its worker, {who}, was stopped by a signal; "
        f"it goes on, and obeys, with: kill -CONT {session.pid}\n"
    )
    with monkeypatch.context() as patch:
        patch.setattr("spectui.store.database.connect", partial(connect, timeout=0.1))
        refused = invoke("--db", session.database, "sessions", "rename", "friday", "monday")
    assert refused.stderr == f"spectui: {locked}\n"
    with pytest.raises(StoreError, match=re.escape(locked)):
        note(session.database, 1, "typed in the dashboard")
    os.kill(session.pid, signal.SIGCONT)
    assert session.ended() == 0, session.log_text()
    assert session.now().status == "stopped"
    assert session.problems() == []


def limited(session: Worked, *words: str) -> subprocess.CompletedProcess[str]:
    """The command line where no file can grow, as on a full disk."""
    most = max(
        each.stat().st_size for each in session.database.parent.glob("runs.db*") if "-shm" not in each.name
    )
    return subprocess.run(
        [SPECTUI, "--db", session.database, *words],
        capture_output=True, text=True, check=False, timeout=60,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (min(4096, most), resource.RLIM_INFINITY)),
    )  # fmt: skip


def test_on_a_full_disk_a_run_can_still_be_ended(session: Worked) -> None:
    session.work()
    session.until_rounds(2)
    session.allow_files_of(4096)
    until(lambda: "trying again" in session.log_text(), what=session.log_text)
    refused = limited(session, "sessions", "pause")
    assert refused.returncode == 2
    assert refused.stderr.endswith("; the run can be ended without a write: spectui sessions stop 1\n"), (
        refused.stderr
    )
    assert refused.stderr.count("\n") == 1
    done = limited(session, "sessions", "stop")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "session 1 'friday': stopped by a signal: the database cannot be written\n"
    assert session.ended() == 1
    assert session.now().status in ("stopped", "interrupted")
    assert session.reader.unfinished(1)


def test_a_worker_that_cannot_write_obeys_a_stop_that_somebody_else_could(session: Worked) -> None:
    session.work()
    session.until_rounds(2)
    session.allow_files_of(4096)
    until(lambda: "trying again" in session.log_text(), what=session.log_text)
    session.send("stop")
    assert session.ended() == 1
    assert "asked to stop while waiting" in session.log_text()


def test_nobody_is_signalled_for_a_copy_or_from_elsewhere(session: Worked, tmp_path: Path) -> None:
    session.work()
    session.until_rounds(2)
    copy = tmp_path / "copy.db"
    with closing(connect(session.database)) as db:
        db.execute("VACUUM INTO ?", [str(copy)])
    for database, change, said in (
        (copy, "", "cannot be written"),
        (session.database, "UPDATE session SET worker_place = '', host = 'elsewhere'", "on elsewhere"),
    ):
        with closing(connect(database)) as db:
            db.execute(change)
        with pytest.raises(StoreError, match=said):
            _without_writing(database, 1, "stop", StoreError("database x cannot be written"))
        assert session.alive


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--resume", "friday", "--tree", "chain:2"], "leave out --tree"),
        (["--resume", "friday", "--max-time", "9s"], "leave out --max-time"),
        (["--resume", "friday", "--per-task", "1"], "leave out --per-task"),
        (["--force"], "--force belongs to --resume"),
        (["--max-time", "soon"], "--max-time is 'soon'; write it as 90, 90s, 45m or 12h"),
        (["--max-time", "0"], "--max-time is '0'; write it as"),
        (["--max-nodes", "0"], "--max-nodes is 0; it must be more than 0"),
    ],
)
def test_what_makes_no_sense_is_refused(invoke: Invoke, words: list[str], said: str) -> None:
    refused = invoke("run", *words)
    assert refused.exit_code == 2
    assert said in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_a_finished_session_has_nothing_to_go_on_with(tmp_path: Path, tiny: Path, invoke: Invoke) -> None:
    done = Worked(tmp_path, tiny, "done", max_new_tokens=2)
    done.work()
    assert done.ended() == 0, done.log_text()
    refused = invoke("--db", done.database, "run", "--resume", "done")
    done.close()
    assert refused.exit_code == 2
    assert "session 'done' has no unfinished prompt" in refused.stderr


def test_a_run_that_ended_at_its_limit_is_a_success_that_says_so(
    tmp_path: Path, tiny: Path, invoke: Invoke
) -> None:
    limited = Worked(tmp_path, tiny, "limited", tree="chain:1", max_new_tokens=3000, max_nodes=10)
    limited.work()
    assert limited.ended() == 0, limited.log_text()
    shown = invoke("--db", limited.database, "attach", "limited")
    limited.close()
    assert (shown.exit_code, shown.stderr) == (0, "")
    assert shown.stdout.splitlines()[-1] == (
        f"the run reached --max-nodes 10; go on with: spectui run --resume 1 --db {limited.database}"
    )


def test_times_are_read_with_their_unit() -> None:
    assert [read_duration(text) for text in ("90", "90s", "1.5m", "2H")] == [90, 90, 90, 7200]


def test_no_process_is_signalled_because_a_database_names_its_pid(tmp_path: Path) -> None:
    """A file of somebody else's, that cannot be written, may name any process of this user."""
    path = tmp_path / "theirs.db"
    trouble = StoreError("it cannot be written")
    with (
        closing(connect(path)) as db,
        subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as bystander,
    ):
        session = make_session(db, ["code"])
        SessionWriter(db, session).claim(pid=bystander.pid)
        db.execute("UPDATE session SET worker_place = '', pid_created = NULL")
        with pytest.raises(StoreError, match=f"end it with: kill {bystander.pid}$"):
            _without_writing(path, session, "stop", trouble)
        assert bystander.poll() is None
        SessionWriter(db, session).set_status("stopped")
        SessionWriter(db, session).claim(pid=bystander.pid)
        assert _without_writing(path, session, "stop", trouble)
        assert bystander.wait(60) == -signal.SIGTERM


def test_a_session_of_an_older_file_is_resumed_without_a_dashboard(
    tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is upgraded first: it was refused, with the advice to open the dashboard."""
    path = tmp_path / "old.db"
    with monkeypatch.context() as before:
        for module in (migrations, schema_check):
            before.setattr(module, "STEPS", schema.STEPS[:1])
        connection = connect(path)
        connection.execute(
            "INSERT INTO session (name, status, created_at, config, target, drafter, tree, prompt_count)"
            " VALUES ('old', 'stopped', '2026-01-01T00:00:00+00:00', '{}', 'T', 'D', 'chain:1', 0)"
        )
        connection.close()
    told = invoke("--db", path, "run", "--resume", "old")
    assert told.stderr == "spectui: session 'old' has no unfinished prompt: there is nothing to go on with\n"
