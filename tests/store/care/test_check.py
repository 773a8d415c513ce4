"""Protects: the check finds each kind of damage, names where it is, and is quick enough to be asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from sqlite_utils import Database

from spectui.store.care.check import check
from spectui.store.care.repair import repair
from spectui.store.database import connect, open_database
from spectui.store.reading.reader import Reader
from tests.store.samples import claimed_writer, random_rounds, record_all

NODE = "WHERE round_id = 2 AND idx = 3"
DAMAGE: dict[str, tuple[str, str]] = {
    "a node is missing": (f"DELETE FROM node {NODE}", "round 2: its node count"),
    "the first node is missing": (
        "DELETE FROM node WHERE round_id = 2 AND idx = 0; UPDATE round SET node_count = 13 WHERE id = 2",
        "round 2: its node count",
    ),
    "a node too many": (
        "INSERT INTO node SELECT round_id, 14, parent, depth, 2, 1, draft_p, target_p, draft_entropy, target_entropy,"
        f" 0, 0 FROM node {NODE}",
        "round 2: its node count",
    ),
    "another parent": (f"UPDATE node SET parent = 9 {NODE}", "round 2: a node's parent"),
    "no parent": (f"UPDATE node SET parent = NULL {NODE}", "round 2: a node's parent"),
    "another depth": (f"UPDATE node SET depth = 3 {NODE}", "round 2: a node's parent"),
    "another rank": (f"UPDATE node SET rank = 5 {NODE}", "round 2: siblings"),
    "twin siblings": ("UPDATE node SET token_id = 4 WHERE round_id = 2 AND parent = 1", "round 2: siblings"),
    "two argmaxes": ('UPDATE node SET "match" = 1 WHERE round_id = 2 AND parent = 1', "round 2: siblings"),
    "a node accepted that was not": (
        "UPDATE node SET accepted = 1 WHERE round_id = 2 AND accepted = 0",
        "round 2: its accepted nodes",
    ),
    "another accepted length": (
        "UPDATE round SET accepted_length = accepted_length + 1 WHERE id = 2",
        "round 2: its accepted nodes",
    ),
    "a probability above one": (f"UPDATE node SET target_p = 1.5 {NODE}", "round 2: a node has a value"),
    "a negative entropy": (f"UPDATE node SET draft_entropy = -1 {NODE}", "round 2: a node has a value"),
    "a changed probability": (
        "UPDATE node SET draft_p = 0.9, target_p = 0.1 WHERE round_id = 2 AND idx = 3",
        "prompt 1: overlap_sum is",
    ),
    "a changed match": (f'UPDATE node SET "match" = 1 - "match" {NODE}', "prompt 1: match_count is"),
    "a cut that was none": ("UPDATE round SET cut = 'eos' WHERE accepted_length < 3", "at_risk_count is"),
    "a gap in the rounds": ("UPDATE round SET number = 9 WHERE id = 4", "round 9: it does not continue"),
    "another prefix": ("UPDATE round SET prefix_length = 99 WHERE id = 2", "round 2: it does not continue"),
    "a bonus lost": ("UPDATE round SET bonus_token_id = NULL WHERE id = 4", "prompt 1: token_count is"),
    "a changed time": ("UPDATE round SET verify_ms = verify_ms + 1 WHERE id = 4", "prompt 1: verify_ms is"),
    "a generation's sum": ("UPDATE generation SET node_count = 1 WHERE id = 2", "prompt 2: node_count is 1"),
    "a task's sum": (
        "UPDATE rollup_task SET tokens = 0 WHERE task = 'math'",
        "rollup_task of math: tokens is 0",
    ),
    "a bin of the lengths": (
        "UPDATE rollup_length SET rounds = rounds + 1 WHERE task = 'code' AND accepted_length = 0",
        "rollup_length of code, 0: rounds is",
    ),
    "a bin too many": (
        "INSERT INTO rollup_length VALUES (1, 'code', 30, 1)",
        "rollup_length of code, 30: nothing",
    ),
    "a depth's hazard": (
        "UPDATE rollup_depth SET rounds_at_risk = 0 WHERE depth = 2",
        "rollup_depth of code, 2: rounds_at_risk is 0",
    ),
    "a missing depth": (
        "DELETE FROM rollup_depth WHERE depth = 3",
        "rollup_depth of code, 3: the row is missing",
    ),
    "a bin of the charts": (
        "UPDATE rollup_task SET bins = zeroblob(length(bins)) WHERE task = 'math'",
        "rollup_task of math: its bins are not",
    ),
    "a prompt lost": ("UPDATE session SET prompt_count = 7", "its prompt count"),
    "a round without a prompt": (
        "PRAGMA foreign_keys = OFF; UPDATE round SET generation_id = 77 WHERE id = 1",
        "a row of round belongs to no row of generation",
    ),
}


@pytest.mark.parametrize(("sql", "problem"), DAMAGE.values(), ids=DAMAGE.keys())
def test_damage_is_found(db: Database, sql: str, problem: str) -> None:
    record_all(db, ["code", "math"], 4)
    assert check(db) == []
    db.conn.executescript(sql)
    problems = check(db)
    assert any(problem in line for line in problems), problems
    assert all(len(line.splitlines()) == 1 for line in problems)


def test_damage_all_over_is_summed_up(db: Database) -> None:
    record_all(db, ["code"], 30)
    db.execute("UPDATE node SET target_p = 2")
    problems = check(db)
    assert "25 more of that kind" in problems
    assert len(problems) < 40


def test_a_torn_page_is_found(path: Path) -> None:
    connection = connect(path)
    record_all(connection, ["code", "math"], 30)
    (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'node'").fetchone()
    connection.close()
    with path.open("r+b") as file:
        file.seek((root - 1) * 4096)
        file.write(b"\xff" * 4096)
    db = open_database(path)
    problems = check(db)
    assert any("damaged" in line for line in problems)
    db.close()


def test_the_check_leaves_the_database_as_it_is(path: Path) -> None:
    connection = connect(path)
    record_all(connection, ["code"], 5)
    connection.close()
    before = path.read_bytes()
    connection = connect(path, read_only=True)
    assert check(connection) == []
    assert not connection.in_transaction
    connection.close()
    assert path.read_bytes() == before


def test_many_nodes_are_checked_whole(db: Database) -> None:
    record_all(db, ["code"] * 12, 300)
    assert check(db) == []


def test_counts_of_explained_rounds_are_repaired(db: Database) -> None:
    writer = claimed_writer(db, ["code"])
    (generation,) = writer.pending_generations()
    writer.start_generation(generation.id)
    for record in random_rounds(4, seed=1):
        writer.record_round(generation.id, replace(record, explained=record.number != 3))
    writer.finish_generation(generation.id, "finished")
    writer.set_status("finished")
    before = Reader(db).session(1)
    assert (before.greedy_rounds, before.explained_rounds) == (4, 3)
    db.execute("UPDATE session SET greedy_rounds = 9, explained_rounds = 9, unexplained_round_id = NULL")
    assert len(repair(db)) == 1
    after = Reader(db).session(1)
    assert (after.greedy_rounds, after.explained_rounds, after.unexplained_round_id) == (
        before.greedy_rounds,
        before.explained_rounds,
        before.unexplained_round_id,
    )
    assert check(db) == []
