"""Protects: what takes room can be given up from the command line, with nothing deleted by accident."""

from __future__ import annotations

from pathlib import Path

import pytest

from spectui.store.care.check import check
from spectui.store.database import connect
from spectui.store.reading.reader import Reader
from tests.cli.conftest import Invoke
from tests.store.samples import claimed_writer, record_all


@pytest.fixture
def filled(database: Path) -> Path:
    connection = connect(database)
    record_all(connection, ["code", "math"], 60)
    record_all(connection, ["chat"], 5)
    connection.close()
    return database


def test_prune_gives_up_nodes_and_says_how_many(invoke: Invoke, filled: Path) -> None:
    done = invoke("sessions", "prune", "1", "--keep-nodes", "rounds")
    assert done.exit_code == 0
    with Reader(filled) as reader:
        accepted = sum(row.accepted_count for row in reader.generations(1))
        assert f"{2 * 60 * 14 - accepted:,} nodes of 2 prompts deleted" in done.stdout
        assert [s.pruned for s in reader.sessions()] == [0, 2]
    # Without --keep-nodes, what each run was given: these were to keep all.
    assert "nothing to delete" in invoke("sessions", "prune").stdout
    shown = invoke("sessions", "show", "1").stdout
    assert "2 prompts: of their trees only the committed paths are kept" in shown
    report = invoke("report", "1")
    assert "the nodes of every prompt were given up" in report.stdout
    assert invoke("sessions", "prune", "--keep-nodes", "some").exit_code == 2


def test_rm_asks_and_vacuum_gives_the_room_back(invoke: Invoke, filled: Path) -> None:
    asked = invoke("sessions", "rm", "1")
    assert (asked.exit_code, "--yes" in asked.stderr) == (2, True)
    assert invoke("sessions", "rm", "1", "2", "nowhere", "--yes").exit_code == 2
    done = invoke("sessions", "rm", "1", "1", "--yes")
    assert (done.exit_code, done.stdout.count("deleted session 1")) == (0, 1)
    before = filled.stat().st_size
    assert " now" in invoke("sessions", "vacuum").stdout
    assert filled.stat().st_size < before
    connection = connect(filled)
    assert [s.id for s in Reader(connection).sessions()] == [2]
    assert check(connection) == []
    claimed_writer(connection, ["code"])
    connection.close()
    live = invoke("sessions", "rm", "last", "--yes")
    assert (live.exit_code, "stop it first" in live.stderr) == (2, True)
