"""Protects: a worker killed at any moment leaves whole rounds only, and loses none it had recorded."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from spectui.store.care.check import check
from spectui.store.database import connect
from spectui.store.reading.reader import Reader
from spectui.store.writing.writer import SessionWriter
from tests.store.processes import child, hear
from tests.store.samples import make_round


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


@pytest.mark.parametrize("rounds", [1, 240])
def test_killed_while_writing(path: Path, rounds: int) -> None:
    with child("record", path) as process:
        hear(process, str(rounds))
        kill(process)
    connection = connect(path)
    assert check(connection) == []
    reader = Reader(connection)
    (generation,) = reader.generations(1)
    kept = reader.rounds(generation.id)
    assert len(kept) >= rounds
    assert [r.number for r in kept] == list(range(1, len(kept) + 1))
    assert {len(r.nodes) for r in kept} == {14}
    assert reader.session(1).status == "interrupted"
    connection.close()


def test_killed_within_a_round(path: Path) -> None:
    with child("half_a_round", path) as process:
        hear(process, "half-way")
        # The round's row and half its nodes are in the open transaction; nobody else sees them.
        with Reader(path) as reader:
            assert [r.number for r in reader.rounds(1)] == [1, 2]
        kill(process)
    connection = connect(path)
    assert check(connection) == []
    assert connection.execute("SELECT count(*) FROM node").fetchone() == (28,)
    connection.close()


def test_the_next_worker_starts_the_interrupted_prompt_anew(path: Path) -> None:
    with child("half_a_round", path) as process:
        hear(process, "half-way")
        kill(process)
    connection = connect(path)
    writer = SessionWriter(connection, 1)
    writer.claim()
    # Claiming alone takes nothing away: the worker may find that it cannot go on.
    assert Reader(connection).session(1).rounds == 2
    assert Reader(connection).unfinished(1) == 1
    assert writer.restart_unfinished() == 1
    (generation,) = writer.pending_generations()
    writer.start_generation(generation.id)
    writer.record_round(generation.id, make_round(1))
    writer.finish_generation(generation.id, "finished", finish_reason="length")
    assert check(connection) == []
    summary = Reader(connection).session(1)
    assert (summary.status, summary.rounds, summary.nodes) == ("starting", 1, 14)
    connection.close()
