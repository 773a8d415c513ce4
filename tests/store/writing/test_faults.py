"""Protects: whatever statement of the writer fails, nothing of its round is there, and the run goes on after it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from spectui.store.care.check import check
from spectui.store.care.pruning import prune_session
from spectui.store.care.space import delete_session
from spectui.store.database import connect
from spectui.store.errors import DatabaseTrouble
from spectui.store.reading.reader import Reader
from spectui.store.writing.patience import PatientWriter
from spectui.store.writing.writer import SessionWriter
from tests.store.samples import make_session, random_rounds
from tests.store.writing.faults import FAULTS, FaultyConnection, faulty

ROUNDS = random_rounds(2, seed=3)
TOKENIZER = "t"


def whole_run(writer: SessionWriter) -> None:
    """Every method that a worker calls, on a session of two prompts, one of them half-done before."""
    writer.claim()
    writer.set_stage("loading", 1.0, 2.0, "MB")
    writer.restart_unfinished()
    writer.describe(device="cpu", tokenizer_id=TOKENIZER, versions={"python": "3"})
    writer.add_baseline(1.0, 1, 2.0)
    writer.add_tokens(TOKENIZER, {1: b"a", 2: b"b"})
    writer.set_status("running")
    writer.take_commands()
    for generation in writer.pending_generations():
        writer.start_generation(generation.id, 10)
        for record in ROUNDS:
            writer.record_round(generation.id, record)
        writer.add_event("repetition", "again and again", generation.id)
        writer.finish_generation(generation.id, "finished", output="text", finish_reason="eos")
        writer.prune(datetime.now(UTC))
    writer.set_status("finished")


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with a session whose first prompt an earlier worker left half-done, and with a command."""
    path = tmp_path_factory.mktemp("faults") / "begun.db"
    connection = connect(path)
    writer = SessionWriter(connection, make_session(connection))
    writer.claim(pid=2**22 + 1, host="elsewhere", pid_created=0.0)
    (first, _) = writer.pending_generations()
    writer.start_generation(first.id)
    writer.record_round(first.id, ROUNDS[0])
    connection.execute("UPDATE session SET heartbeat_at = '2026-01-01T00:00:00.000+00:00'")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return path


@pytest.fixture
def opened(begun: Path, tmp_path: Path) -> Iterator[Callable[[], FaultyConnection]]:
    connections: list[FaultyConnection] = []

    def copy() -> FaultyConnection:
        path = tmp_path / f"{len(connections)}.db"
        shutil.copy(begun, path)
        connections.append(faulty(path))
        return connections[-1]

    yield copy
    for connection in connections:
        connection.close()


class WatchedWriter(PatientWriter):
    """While it waits, somebody else looks at the file."""

    def __init__(self, connection: FaultyConnection) -> None:
        self.problems: list[str] = []
        path = Path(connection.execute("PRAGMA database_list").fetchone()[2])
        super().__init__(connection, 1, path, lambda _: False)

    def _wait_out(self, trouble: DatabaseTrouble, pause: float, begin: float) -> None:
        with Reader(self._path) as reader:
            for generation in reader.generations(1):
                rows = reader.rounds(generation.id)
                if len(rows) != generation.round_count:
                    self.problems.append(f"{len(rows)} rounds, counted {generation.round_count}")
                if not generation.pruned_at and any(row.pruned for row in rows):
                    self.problems.append("half a round is visible")
        super()._wait_out(trouble, pause, begin)


def state(connection: FaultyConnection) -> object:
    """Rounds and figures, by nothing that time or ids of rows change."""
    reader = Reader(connection)
    generations = reader.generations(1)
    assert [g.status for g in generations] == ["finished", "finished"]
    rounds = [
        [(r.number, r.emitted, r.accepted_length, r.nodes) for r in reader.rounds(g.id)] for g in generations
    ]
    return rounds, reader.figures(1)


@pytest.mark.parametrize("first", FAULTS if "SPECTUI_SOAK" in os.environ else ["ENOSPC"])
def test_a_fault_at_every_statement_of_a_whole_run_changes_nothing_of_it(
    opened: Callable[[], FaultyConnection], first: str
) -> None:
    """The faults take turns; `make soak` lets each of them hit each statement."""
    kinds = [*FAULTS][[*FAULTS].index(first) :] + [*FAULTS][: [*FAULTS].index(first)]
    sound = opened()
    whole_run(SessionWriter(sound, 1))
    statements, expected = sound.statements, state(sound)
    assert statements > 60
    hit = set()
    for at in range(1, statements + 1):
        connection = opened()
        writer = WatchedWriter(connection)
        # Every other time two in a row, so that what is done about the first meets the second.
        connection.arm(kinds[at % 3], at, times=1 + at % 2)
        whole_run(writer)
        connection.disarm()
        hit.update(connection.failed)
        assert writer.problems == [], (at, connection.failed)
        assert check(connection) == [], (at, connection.failed)
        assert state(connection) == expected, (at, connection.failed)
        connection.close()
    assert any(sql.startswith("COMMIT") for sql in hit)
    assert any(sql.startswith("INSERT INTO node") for sql in hit)
    assert any(sql.startswith("DELETE FROM node") for sql in hit)
    print(f"{statements} statements, {len(hit)} different ones, each failed once: nothing was lost")


def test_a_fault_at_every_statement_of_deleting_leaves_what_can_be_deleted(
    opened: Callable[[], FaultyConnection],
) -> None:
    at, failed = 0, True
    while failed:
        at += 1
        connection = opened()
        connection.arm([*FAULTS][at % 3], at)
        failed = False
        try:
            delete_session(connection, 1)
        except DatabaseTrouble:
            failed = True
        connection.disarm()
        assert check(connection) == []
        if Reader(connection).sessions():
            delete_session(connection, 1)
        prune_session(connection, 1, datetime.now(UTC))
        assert check(connection) == []
        connection.close()
    assert at > 5
