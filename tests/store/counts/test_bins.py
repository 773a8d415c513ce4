"""Protects: what the charts read costs so many rows and no more, adds up, and survives failure and repair."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from sqlite_utils import Database

from spectui.store.care.check import check
from spectui.store.care.repair import repair
from spectui.store.counts import bins
from spectui.store.database import connect
from spectui.store.reading.reader import Reader
from tests.store.samples import claimed_writer, make_round, record_all


def test_values_on_the_edges_of_bins() -> None:
    assert [bins.probability_bin(p) for p in (0.0, 0.05, 0.9999, 1.0, 1.00001, -0.1)] == [0, 1, 19, 19, 19, 0]
    assert [bins.entropy_bin(e) for e in (-1e-6, 0.0, 0.25, 4.99, 5.0, 11.0, float("inf"))] == [
        *(0, 0, 1, 19, 20, 20, 20)
    ]


def test_a_round_that_fails_is_in_no_bin(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = claimed_writer(db, ["code"])
    (generation,) = writer.pending_generations()
    writer.start_generation(generation.id)
    writer.record_round(generation.id, make_round(1, path=[0]))
    before = Reader(db).bins(1)

    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(writer._rollups, "_update_task", full)
    with pytest.raises(Exception, match="full"):
        writer.record_round(generation.id, make_round(2, path=[0], prefix_length=12))
    monkeypatch.undo()
    assert Reader(db).bins(1) == before
    writer.record_round(generation.id, make_round(2, path=[0], prefix_length=12))
    assert check(db) == []


def test_a_drafter_without_probabilities_has_no_bins(db: Database) -> None:
    writer = claimed_writer(db, ["code"])
    (generation,) = writer.pending_generations()
    writer.start_generation(generation.id)
    writer.record_round(generation.id, make_round(1, path=[0], drafted=False))
    assert Reader(db).bins(1)["code"].empty
    assert db.execute("SELECT length(bins) FROM rollup_task").fetchone() == (0,)
    assert check(db) == []


def test_not_a_number_is_in_no_bin(db: Database) -> None:
    writer = claimed_writer(db, ["code"])
    (generation,) = writer.pending_generations()
    writer.start_generation(generation.id)
    nan = float("nan")
    record = make_round(1, parents=[None, 0])
    odd = [node._replace(draft_p=nan, draft_entropy=nan) for node in record.nodes]
    writer.record_round(generation.id, make_round(1).__class__(**vars(record) | {"nodes": odd}))
    assert check(db) == []


def test_reading_charts_never_looks_at_rounds(db: Database) -> None:
    session_id = record_all(db, ["code", "math"], 40)
    looked_at: set[str] = set()

    def look(action: int, table: str | None, *_: object) -> int:
        if action == sqlite3.SQLITE_READ and table:
            looked_at.add(table)
        return sqlite3.SQLITE_OK

    db.conn.set_authorizer(look)
    reader = Reader(db)
    reader.bins(session_id)
    db.conn.set_authorizer(None)
    assert looked_at == {"rollup_task"}


def test_repair_puts_every_count_right(path: Path) -> None:
    connection = connect(path)
    record_all(connection, ["code", "math"], 20)
    for sql in (
        "UPDATE rollup_task SET bins = x'', tokens = 3",
        "UPDATE rollup_depth SET nodes = 0",
        "UPDATE generation SET match_count = 0",
    ):
        connection.execute(sql)
    assert len(repair(connection)) >= 4
    assert check(connection) == []
    assert repair(connection) == []
    connection.close()
