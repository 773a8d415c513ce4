"""Protects: the way from an empty or older file to today's schema, alone and in company."""

from __future__ import annotations

import sqlite3
from contextlib import ExitStack
from pathlib import Path

import pytest
import sqlite_utils

from spectui.store.care.check import check
from spectui.store.care.space import delete_session
from spectui.store.database import connect
from spectui.store.errors import StoreError
from spectui.store.reading.reader import Reader
from spectui.store.schema import check as schema_check
from spectui.store.schema import migrations
from spectui.store.schema import steps as schema
from spectui.store.sessions import set_tags
from spectui.store.writing.baselines import baselines
from spectui.store.writing.writer import SessionWriter
from tests.store.processes import child, hear, say
from tests.store.samples import record_all, snapshot

TODAY = [name for name, _ in schema.STEPS]
NEXT_STEP = ("9001_colours", ("ALTER TABLE session ADD COLUMN colour TEXT NOT NULL DEFAULT ''",))
BROKEN_STEP = ("9002_broken", ("CREATE TABLE half (x)", "CREATE TABLE half (x)"))


def add_steps(monkeypatch: pytest.MonkeyPatch, *steps: tuple[str, tuple[str, ...]]) -> None:
    monkeypatch.setattr(migrations, "STEPS", (*schema.STEPS, *steps))
    monkeypatch.setattr(schema_check, "STEPS", (*schema.STEPS, *steps))


def applied(path: Path) -> list[str]:
    connection = sqlite3.connect(path)
    names = [name for (name,) in connection.execute("SELECT name FROM _sqlite_migrations ORDER BY id")]
    connection.close()
    return names


def test_an_older_file_is_upgraded_with_what_it_holds(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = connect(path)
    session_id = record_all(connection, ["code", "math"], 5)
    connection.close()
    add_steps(monkeypatch, NEXT_STEP)
    connection = connect(path)
    assert connection.execute("SELECT colour FROM session").fetchall() == [("",)]
    assert Reader(connection).session(session_id).rounds == 10
    assert check(connection) == []
    connection.close()
    assert applied(path) == [*TODAY, NEXT_STEP[0]]


def test_sessions_from_before_there_were_tags_have_none(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = schema.STEPS[:1]
    with monkeypatch.context() as before:
        before.setattr(migrations, "STEPS", first)
        before.setattr(schema_check, "STEPS", first)
        connection = connect(path)
        connection.execute(
            "INSERT INTO session (name, status, created_at, config, target, drafter, tree, notes, prompt_count)"
            " VALUES ('old', 'finished', '2026-01-01T00:00:00+00:00', '{}', 'T', 'D', 'chain:1', 'kept', 0)"
        )
        connection.close()
        assert applied(path) == ["0001_initial"]
    connection = connect(path)
    summary = Reader(connection).session("old")
    assert (summary.tags, summary.notes) == ((), "kept")
    set_tags(connection, summary.id, ["study"])
    assert Reader(connection).session("old").tags == ("study",)
    assert check(connection) == []
    connection.close()
    assert applied(path) == TODAY


def test_sessions_from_before_events_were_kept_have_none(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = schema.STEPS[:2]
    with monkeypatch.context() as before:
        before.setattr(migrations, "STEPS", first)
        before.setattr(schema_check, "STEPS", first)
        before.setattr(
            "spectui.store.writing.writer.add_block", lambda *_: None
        )  # nor did the writer of that day make any
        connection = connect(path)
        # By hand: today's writer writes today's columns.
        session_id = connection.execute(
            "INSERT INTO session (name, status, created_at, config, target, drafter, tree, prompt_count)"
            " VALUES ('old', 'finished', '2026-01-01T00:00:00+00:00', '{}', 'T', 'D', 'chain:1', 1)"
        ).lastrowid
        assert session_id is not None
        connection.execute(
            "INSERT INTO generation (session_id, position, prompt_id, task, prompt_text) VALUES (?, 0, 'a', 'a', 'A')",
            (session_id,),
        )
        connection.close()
        assert applied(path) == ["0001_initial", "0002_tags"]
    connection = connect(path)
    reader = Reader(connection)
    assert (reader.events(session_id), reader.model_files(session_id)) == ([], {})
    SessionWriter(connection, session_id).add_event("resumed", "from long ago")
    assert [event.text for event in reader.events(session_id)] == ["from long ago"]
    delete_session(connection, session_id)
    assert connection.execute("SELECT count(*) FROM event").fetchone() == (0,)
    assert check(connection) == []
    connection.close()


def test_sessions_from_before_there_were_bins_get_theirs(path: Path) -> None:
    connection = connect(path)
    first, second = record_all(connection, ["code", "math"], 30), record_all(connection, ["code"], 5)
    with Reader(path) as reader:
        before = [reader.bins(i) for i in (first, second)]
    connection.execute("ALTER TABLE rollup_task DROP COLUMN bins")
    connection.execute("DELETE FROM _sqlite_migrations WHERE name = '0007_bins'")
    connection.close()
    connection = connect(path)
    reader = Reader(connection)
    assert [reader.bins(i) for i in (first, second)] == before
    assert check(connection) == []
    connection.close()


def test_a_step_that_fails_leaves_the_older_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = connect(path)
    record_all(connection, ["code"], 5)
    connection.close()
    before = snapshot(path.parent)
    add_steps(monkeypatch, NEXT_STEP, BROKEN_STEP)
    with pytest.raises(StoreError, match="already exists"):
        connect(path)
    assert snapshot(path.parent) == before


def test_a_creation_that_fails_leaves_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_steps(monkeypatch, BROKEN_STEP)
    with pytest.raises(StoreError, match="already exists"):
        connect(path)
    assert list(path.parent.iterdir()) == []


def test_an_older_file_is_not_upgraded_by_a_reader(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connect(path).close()
    before = snapshot(path.parent)
    add_steps(monkeypatch, NEXT_STEP)
    with pytest.raises(StoreError, match="older spectui"):
        Reader(path)
    assert snapshot(path.parent) == before


@pytest.mark.parametrize("empty_file_first", [False, True])
def test_processes_that_create_one_file_at_once(path: Path, empty_file_first: bool) -> None:
    path.parent.mkdir()
    if empty_file_first:
        path.touch()
    with ExitStack() as stack:
        children = [stack.enter_context(child("create", path)) for _ in range(2)]
        for process in children:
            hear(process, "ready")
        for process in children:
            say(process)
        for process in children:
            hear(process, "created")
            assert process.wait() == 0
    assert applied(path) == TODAY
    assert list(path.parent.iterdir()) == [path]


def test_a_file_that_is_being_filled_is_empty_or_says_whose_it_is(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process may read the first bytes at any moment, and refuses what is not ours."""
    path.parent.mkdir()
    path.touch()
    seen: list[bytes] = []
    steps = migrations.migrations

    def look_and_go_on() -> sqlite_utils.Migrations:
        seen.append(path.read_bytes())
        return steps()

    monkeypatch.setattr(migrations, "migrations", look_and_go_on)
    connect(path).close()
    assert seen == [b""]
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA auto_vacuum").fetchone() == (2,)
    connection.close()


def test_whoever_is_at_work_on_a_file_without_a_log_is_waited_for(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite itself does not wait for a writer when a file goes over to a write-ahead log."""
    connect(path).close()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("PRAGMA journal_mode = DELETE")
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="is locked by another program"):
        connect(path, timeout=0.0)
    monkeypatch.setattr("time.sleep", lambda _: other.close())
    opened = connect(path)
    assert opened.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    opened.close()


def test_creation_works_where_files_cannot_be_linked(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", no_links)
    connect(path).close()
    assert list(path.parent.iterdir()) == [path]
    assert applied(path) == TODAY


def test_a_baseline_from_before_there_were_several_is_one_measurement(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = schema.STEPS[: TODAY.index("0011_baselines")]
    with monkeypatch.context() as before:
        before.setattr(migrations, "STEPS", first)
        before.setattr(schema_check, "STEPS", first)
        connection = connect(path)
        connection.execute(
            "INSERT INTO session (name, status, created_at, config, target, drafter, tree, prompt_count, baseline_ms)"
            " VALUES ('old', 'finished', '2026-01-01T00:00:00+00:00', '{}', 'T', 'D', 'chain:1', 0, 31.5),"
            " ('none', 'finished', '2026-01-01T00:00:00+00:00', '{}', 'T', 'D', 'chain:1', 0, NULL)"
        )
        connection.close()
    connection = connect(path)
    reader = Reader(connection)
    old, none = reader.session("old"), reader.session("none")
    assert (old.baseline_ms, old.baseline_count, old.speedup_range) == (31.5, 1, None)
    assert (none.baseline_ms, none.baseline_count) == (None, 0)
    assert [each.ms_per_token for each in baselines(reader, old.id)] == [31.5]
    assert baselines(reader, none.id) == []
    delete_session(connection, old.id)
    assert connection.execute("SELECT count(*) FROM baseline").fetchone() == (0,)
    assert check(connection) == []
    connection.close()
