"""Protects: pruned nodes take no count, round or text with them, and a deleted session goes without a trace."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from spectui.store.analysis.compare import compare_sessions
from spectui.store.analysis.report import build_report
from spectui.store.care.check import check
from spectui.store.care.pruning import prune_session
from spectui.store.care.space import delete_session, remove_deleted, vacuum
from spectui.store.counts.recount import rebuild
from spectui.store.database import connect
from spectui.store.errors import StoreError
from spectui.store.reading.moments import sums_within
from spectui.store.reading.reader import Reader
from spectui.store.records import PromptRecord
from spectui.store.sessions import create_session
from spectui.store.sqlite import batches
from spectui.store.writing.writer import SessionWriter
from tests.store.samples import claimed_writer, make_round, random_rounds, record_all


@pytest.fixture
def connection(path: Path) -> Iterator[sqlite3.Connection]:
    opened = connect(path)
    yield opened
    opened.close()


def texts(reader: Reader, session_id: int) -> list[list[tuple[int, ...]]]:
    return [[row.emitted for row in reader.rounds(g.id)] for g in reader.generations(session_id)]


def test_pruning_keeps_every_count_and_the_committed_tokens(connection: sqlite3.Connection) -> None:
    session_id = record_all(connection, ["code", "math", "code"], 30)
    other = record_all(connection, ["code"], 10)
    reader = Reader(connection)
    before = (reader.figures(session_id), reader.intervals(session_id), texts(reader, session_id))
    prompts, nodes = prune_session(connection, session_id, datetime.now(UTC))
    accepted = sum(row.accepted_count for row in reader.generations(session_id))
    assert (prompts, nodes) == (3, 3 * 30 * 14 - accepted)
    assert (reader.figures(session_id), reader.intervals(session_id), texts(reader, session_id)) == before
    assert check(connection) == []
    assert {row.pruned for g in reader.generations(session_id) for row in reader.rounds(g.id)} == {True}
    assert all(g.pruned_at for g in reader.generations(session_id))
    assert (reader.session(session_id).pruned, reader.session(other).pruned) == (3, 0)
    # A second time there is nothing to do, and a recount still proves what is kept.
    assert prune_session(connection, session_id, datetime.now(UTC)) == (0, 0)
    rebuild(connection, session_id)
    assert check(connection) == []


def test_a_damaged_count_of_a_pruned_session_is_found(connection: sqlite3.Connection) -> None:
    session_id = record_all(connection, ["code"], 10)
    prune_session(connection, session_id, datetime.now(UTC))
    connection.execute("UPDATE rollup_depth SET match_count = match_count + 1 WHERE depth = 2")
    assert any("rollup_depth of code, 2" in problem for problem in check(connection))
    rebuild(connection, session_id)
    assert check(connection) == []
    connection.execute("""UPDATE pruned SET counts = '{"generation": {"x) --": 1}}'""")
    assert "are damaged" in check(connection)[0]


def test_only_prompts_that_ended_long_enough_ago_are_pruned(connection: sqlite3.Connection) -> None:
    writer = claimed_writer(connection, ["old", "new", "running", "half-done"])
    ids = [row.id for row in writer.pending_generations()]
    for generation_id in ids:
        writer.start_generation(generation_id)
        writer.record_round(generation_id, make_round(1))
    for generation_id in ids[:2]:
        writer.finish_generation(generation_id, "finished", finish_reason="eos")
    writer.finish_generation(ids[3], "skipped", finish_reason="stopped")
    connection.execute(
        "UPDATE generation SET ended_at = '2026-01-01T00:00:00.000+00:00' WHERE id = ?", (ids[0],)
    )
    assert prune_session(connection, 1, None) == (0, 0)
    assert prune_session(connection, 1, datetime.now(UTC) - timedelta(days=7)) == (1, 14)
    assert prune_session(connection, 1, datetime.now(UTC)) == (1, 14)
    writer.record_round(ids[2], make_round(2, prefix_length=11))
    assert writer.restart_unfinished() == 2
    assert check(connection) == []


def test_a_pruned_prompt_that_begins_again_is_whole_again(connection: sqlite3.Connection) -> None:
    session_id = record_all(connection, ["code"], 5)
    prune_session(connection, session_id, datetime.now(UTC))
    writer = SessionWriter(connection, session_id)
    (generation,) = Reader(connection).generations(session_id)
    writer.restart_generation(generation.id)
    writer.start_generation(generation.id)
    writer.record_round(generation.id, make_round(1))
    assert Reader(connection).generation(generation.id).pruned_at is None
    assert check(connection) == []


def test_pruning_that_was_interrupted_is_finished_by_the_next(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    session_id = record_all(connection, ["code", "math"], 200)
    before = Reader(connection).figures(session_id)
    monkeypatch.setattr(batches, "MOST", 50)

    def interrupt(_what: str, _nodes: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prune_session(connection, session_id, datetime.now(UTC), interrupt)
    assert check(connection) == []
    assert prune_session(connection, session_id, datetime.now(UTC))[0] == 0
    assert connection.execute("SELECT count(*) FROM node WHERE NOT accepted").fetchone() == (0,)
    assert Reader(connection).figures(session_id) == before
    assert check(connection) == []


def test_a_deleted_session_is_gone_at_once_and_its_rows_soon(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    doomed, kept = record_all(connection, ["code"], 300), record_all(connection, ["math"], 5)
    name = Reader(connection).session(doomed).name
    monkeypatch.setattr(batches, "MOST", 50)

    def interrupt(_what: str, _done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        delete_session(connection, doomed, interrupt)
    reader = Reader(connection)
    assert [s.id for s in reader.sessions()] == [kept]
    assert connection.execute("SELECT count(*) FROM round").fetchone()[0] > 5
    assert check(connection) == []
    with pytest.raises(StoreError, match="is gone from the database"):
        SessionWriter(connection, doomed).claim()
    create_session(
        connection, name=name, config_json="{}", target="t", drafter="d", tree="chain:1",
        prompts=[PromptRecord("a", "code", "again")],
    )  # fmt: skip
    assert remove_deleted(connection) == 1
    assert connection.execute("SELECT count(*) FROM session WHERE id = ?", (doomed,)).fetchone() == (0,)
    assert connection.execute("SELECT count(*) FROM round").fetchone() == (5,)
    assert check(connection) == []


def test_space_is_given_back_beside_a_worker(path: Path, connection: sqlite3.Connection) -> None:
    doomed = record_all(connection, ["code"] * 4, 400)
    writer_connection = connect(path, timeout=2.0)
    writer = claimed_writer(writer_connection, ["code"])
    (generation,) = writer.pending_generations()
    writer.start_generation(generation.id)
    failed: list[StoreError] = []
    done = threading.Event()
    recorded = 0

    rounds = random_rounds(1500, seed=1)

    def work() -> None:
        nonlocal recorded
        for record in rounds:
            if done.is_set():
                return
            try:
                writer.record_round(generation.id, record)
            except StoreError as error:
                failed.append(error)
                return
            recorded += 1

    before = path.stat().st_size
    thread = threading.Thread(target=work)
    thread.start()
    try:
        delete_session(connection, doomed)
        result = vacuum(connection)
    finally:
        done.set()
        thread.join()
    assert failed == []
    assert recorded > 0
    assert check(connection) == []
    writer_connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert path.stat().st_size - recorded * 14 * 100 < before / 2
    assert result.sessions == 0  # its rows went when it was deleted
    writer_connection.close()


def test_an_older_file_is_written_anew_when_no_run_is_at_work(path: Path) -> None:
    connection = connect(path)
    session_id = record_all(connection, ["code"] * 2, 200)
    # As files were made before they could shrink in steps.
    connection.execute("PRAGMA auto_vacuum = NONE")
    connection.execute("VACUUM")
    writer = claimed_writer(connection, ["code"])
    delete_session(connection, session_id)
    with pytest.raises(StoreError, match="try again when no run is at work"):
        vacuum(connection)
    writer.set_status("finished")
    done = vacuum(connection)
    assert done.after < done.before / 2
    assert connection.execute("PRAGMA auto_vacuum").fetchone() == (2,)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert check(connection) == []
    connection.close()


def test_reports_leave_pruned_prompts_out_and_say_so(connection: sqlite3.Connection) -> None:
    session_id = record_all(connection, ["code", "code", "math", "math"], 20)
    other = record_all(connection, ["code", "math"], 5)
    reader = Reader(connection)
    connection.execute("UPDATE generation SET ended_at = '2026-01-01' WHERE position < 1 AND session_id = 1")
    prune_session(connection, session_id, datetime.now(UTC) - timedelta(days=1))
    report = build_report(reader, session_id)
    assert report.overall is not None
    assert report.overall.prompts == 3
    assert "1 prompts are left out" in report.notes["pruned"]
    assert "1 are left out" in str(compare_sessions(reader, session_id, other).notes)
    prune_session(connection, session_id, datetime.now(UTC))
    report = build_report(reader, session_id)
    assert (report.overall, report.notes["everything"]) == (
        None,
        "the nodes of every prompt were given up; what was counted: spectui sessions show",
    )
    assert compare_sessions(reader, session_id, other).overall is None


def test_figures_at_a_moment_of_a_pruned_prompt_are_those_of_its_blocks(
    connection: sqlite3.Connection,
) -> None:
    session_id = record_all(connection, ["code"], 200)
    reader = Reader(connection)
    (generation,) = reader.generations(session_id)
    whole = [sums_within(reader, generation.id, number) for number in (128, 200)]
    prune_session(connection, session_id, datetime.now(UTC))
    assert [sums_within(reader, generation.id, number) for number in (100, 128, 150)] == [whole[0], *whole]
