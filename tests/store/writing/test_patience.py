"""Protects: what keeps a worker from writing is waited for, said, and loses no round; what stays ends the run."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from spectui.store.care.check import check
from spectui.store.database import connect
from spectui.store.errors import DatabaseTrouble, StoreError
from spectui.store.reading.reader import Reader
from spectui.store.writing.patience import PatientWriter
from tests.store.samples import make_session, random_rounds

Wait = Callable[[float], bool]


class Run:
    """A session with one prompt whose writer calls `cure` when it waits for the first time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.connection = connect(path, timeout=0)
        self.session = make_session(self.connection, ["code"])
        self.waits: list[float] = []
        self.cure: Callable[[], object] = lambda: None
        self.seen: list[tuple[str, str]] = []
        self.writer = PatientWriter(self.connection, self.session, path, self._wait)
        self.writer.claim()
        (self.prompt,) = self.writer.pending_generations()
        self.writer.start_generation(self.prompt.id)
        self.writer.set_status("running")
        self.writer.set_stage("decoding")

    def _wait(self, seconds: float) -> bool:
        self.waits.append(seconds)
        if self.path.exists():
            with Reader(self.path) as reader:
                row = reader.session(self.session)
                self.seen.append((row.status, row.stage))
        if len(self.waits) == 3:
            self.cure()
        return False

    def record(self, rounds: Iterable[int]) -> None:
        records = random_rounds(max(rounds), seed=1)
        for number in rounds:
            self.writer.record_round(self.prompt.id, records[number - 1])

    def is_whole(self, rounds: int) -> None:
        """Every round is there, nothing else is, and the session is at work again and says what happened."""
        assert check(self.connection) == []
        reader = Reader(self.connection)
        assert [r.number for r in reader.rounds(self.prompt.id)] == list(range(1, rounds + 1))
        row = reader.session(self.session)
        assert (row.status, row.stage, row.ended_at) == ("running", "decoding", None)


@pytest.fixture
def run(path: Path) -> Iterator[Run]:
    run = Run(path)
    yield run
    run.connection.close()


def test_a_full_disk_is_waited_for_and_shown(run: Run) -> None:
    run.record(range(1, 4))
    pages = run.connection.execute("PRAGMA page_count").fetchone()[0]
    run.connection.execute(f"PRAGMA max_page_count = {pages + 3}")
    run.cure = lambda: run.connection.execute("PRAGMA max_page_count = 100000")
    run.record(range(4, 60))
    run.is_whole(59)
    assert run.waits == [0.1, 0.2, 0.4]
    assert {status for status, _ in run.seen} == {"paused"}
    assert "the disk is full" in run.seen[0][1]
    (event,) = Reader(run.connection).events(run.session)
    assert event.kind == "database"
    assert "the disk is full" in event.text


def test_a_disk_that_turned_read_only_is_waited_for(run: Run) -> None:
    run.record([1])
    run.connection.execute("PRAGMA query_only = ON")
    run.cure = lambda: run.connection.execute("PRAGMA query_only = OFF")
    run.record([2, 3])
    run.is_whole(3)
    assert len(run.waits) == 3


def test_another_programs_lock_is_waited_for(run: Run) -> None:
    run.record([1])
    with closing(sqlite3.connect(run.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        run.cure = lambda: other.execute("ROLLBACK")
        run.record([2, 3])
    run.is_whole(3)
    assert len(run.waits) == 3


def test_a_database_that_was_moved_away_is_written_again_when_it_is_back(run: Run) -> None:
    run.record([1])
    away = run.path.with_name("away.db")
    run.path.rename(away)
    run.cure = lambda: away.rename(run.path)
    run.record([2, 3])
    run.is_whole(3)
    assert len(run.waits) == 3
    assert run.writer.rescue() is None


@pytest.mark.parametrize("replaced", [False, True], ids=["deleted", "replaced"])
def test_what_was_recorded_is_rescued_from_a_database_that_stays_away(
    run: Run, replaced: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPECTUI_PATIENCE", "0")
    run.record([1, 2])
    copy = run.path.with_name("copy.db")
    shutil.copy(run.path, copy)
    for suffix in ("", "-wal", "-shm"):
        run.path.with_name(run.path.name + suffix).unlink()
    if replaced:
        copy.rename(run.path)
    with pytest.raises(StoreError, match="replaced by another file" if replaced else "is gone") as refusal:
        run.record([3])
    assert not isinstance(refusal.value, DatabaseTrouble)  # it is final
    rescued = run.writer.rescue()
    assert rescued is not None
    assert rescued.stat().st_mode & 0o777 == 0o600
    with closing(connect(rescued)) as saved:
        assert check(saved) == []
        assert Reader(saved).session(run.session).rounds == 2


def test_two_runs_that_lose_one_database_keep_a_copy_each(run: Run, tmp_path: Path) -> None:
    """A name that another run took meanwhile, as a link to nowhere stands for here, stays that one's."""
    run.record([1, 2])
    taken = run.path.with_name(f"{run.path.name}.rescued-1")
    taken.symlink_to(tmp_path / "nowhere")
    run.path.unlink()
    rescued = run.writer.rescue()
    assert rescued == run.path.with_name(f"{run.path.name}.rescued-2")
    assert taken.is_symlink()
    with closing(connect(rescued)) as saved:
        assert Reader(saved).session(run.session).rounds == 2


def test_what_a_server_says_of_a_prompt_waits_too(run: Run) -> None:
    with closing(sqlite3.connect(run.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        run.cure = lambda: other.execute("ROLLBACK")
        run.writer.note_prompt(run.prompt.id, 10, 3)
    assert len(run.waits) == 3
    assert Reader(run.connection).generation(run.prompt.id).prompt_tokens == 10


def test_waiting_grows_longer_up_to_a_bound_and_ends_when_the_run_is_to_end(path: Path) -> None:
    connection = connect(path, timeout=0)
    waits: list[float] = []

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        return len(waits) == 10

    session = make_session(connection)
    writer = PatientWriter(connection, session, path, wait)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match=r"locked by another program.*asked to stop while waiting"):
            writer.claim()
    assert waits == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0, 2.0, 2.0]
    connection.close()


class Failing(sqlite3.Connection):
    """Fails the statement numbered `fail_at` once, as the disk would."""

    statements = 0
    fail_at = 0
    error = ""

    def _count(self, sql: str) -> None:
        # Undoing is the one thing that needs no room, no lock and no disk.
        if sql == "ROLLBACK" or sql.startswith("PRAGMA"):
            return
        self.statements += 1
        if self.statements == self.fail_at:
            failure = sqlite3.OperationalError(self.error)
            failure.sqlite_errorname = self.error
            raise failure

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        self._count(sql)
        return super().execute(sql, *parameters)

    def executemany(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        self._count(sql)
        return super().executemany(sql, *parameters)


def record_a_session(path: Path, fail_at: int, error: str) -> int:
    """A whole session through a connection that fails once; returns how many statements it took."""
    connection = sqlite3.connect(path, isolation_level=None, factory=Failing)
    with closing(connection):
        connection.execute("PRAGMA foreign_keys = ON")
        session = make_session(connection, ["code", "math"])
        waits: list[float] = []

        def wait(seconds: float) -> bool:
            waits.append(seconds)
            return False

        writer = PatientWriter(connection, session, path, wait)
        connection.statements, connection.fail_at, connection.error = 0, fail_at, error
        writer.claim()
        writer.describe(tree="full:3x2")
        writer.restart_unfinished()
        writer.add_tokens("smol", {1: b"a"})
        writer.set_status("running")
        for generation in writer.pending_generations():
            writer.start_generation(generation.id, 10)
            for record in random_rounds(2, seed=generation.id):
                writer.record_round(generation.id, record)
                writer.take_commands()
            writer.finish_generation(generation.id, "finished", output="done", finish_reason="eos")
        writer.set_status("finished")
        statements = connection.statements
        connection.fail_at = 0
        assert len(waits) == (fail_at > 0)
        assert check(connection) == []
        summary = Reader(connection).session(session)
        assert (summary.status, summary.rounds, summary.nodes, summary.prompts_done) == ("finished", 4, 56, 2)
    return statements


@pytest.mark.parametrize("error", ["SQLITE_FULL", "SQLITE_IOERR_WRITE", "SQLITE_BUSY"])
def test_every_statement_may_fail_once_and_nothing_is_lost(tmp_path: Path, error: str) -> None:
    empty = tmp_path / "empty.db"
    connect(empty).close()

    def record(fail_at: int) -> int:
        path = tmp_path / f"{fail_at}.db"
        shutil.copy(empty, path)
        return record_a_session(path, fail_at, error)

    statements = record(0)
    assert statements > 50
    for number in range(1, statements + 1):
        record(number)


def test_a_session_that_cannot_be_claimed_is_left_as_it_is(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that waits unseen could be neither ended nor found, and would begin hours later, beside others."""
    monkeypatch.setattr("spectui.store.writing.patience.PATIENCE_TO_CLAIM", 0.0)
    run.writer.set_status("stopped")
    again = PatientWriter(run.connection, run.session, run.path, run._wait)
    run.connection.execute("PRAGMA query_only = ON")
    with pytest.raises(StoreError, match="gave up"):
        again.claim()
    run.connection.execute("PRAGMA query_only = OFF")
    assert Reader(run.connection).session(run.session).status == "stopped"
    again.claim()
    assert Reader(run.connection).session(run.session).status == "starting"
