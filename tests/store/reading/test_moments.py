"""Protects: figures at a moment are those of the rounds up to it, whatever the blocks, and blocks come and go."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from sqlite_utils import Database

from spectui.store.care.check import check
from spectui.store.counts import rollups
from spectui.store.counts.metrics import overlap
from spectui.store.database import connect
from spectui.store.reading import moments
from spectui.store.reading.reader import Reader
from spectui.store.rows import RoundRow, TaskFigures
from spectui.store.schema.steps import STEPS
from spectui.store.writing.writer import SessionWriter
from tests.store.samples import claimed_writer, make_round, make_session, random_rounds

TASKS = ("code", "math", "code")
CHAIN = (None, 0, 1)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollups, "BLOCK", 8)


def decode(db: Database, rounds_each: int = 21, *, end: bool = True) -> tuple[SessionWriter, list[int]]:
    """A session whose trees differ from prompt to prompt; every prompt ended unless told otherwise."""
    writer = claimed_writer(db, TASKS)
    ids = []
    for index, generation in enumerate(writer.pending_generations()):
        writer.start_generation(generation.id)
        trees = (CHAIN, (None, None, 0, 0, 1), (None, 0, 1, 2, 3))
        for record in random_rounds(rounds_each, seed=index, parents=trees[index]):
            writer.record_round(generation.id, record)
        if end:
            writer.finish_generation(generation.id, "finished")
        ids.append(generation.id)
    return writer, ids


def at(
    reader: Reader, session_id: int, position: int, generation_id: int, number: int
) -> dict[str, TaskFigures]:
    sums = moments.sums_before(reader, session_id, position)
    within = moments.sums_within(reader, generation_id, number)
    sums[TASKS[position]] = sums[TASKS[position]] + within if TASKS[position] in sums else within
    return moments.figures(sums)


def counted(task: str, rounds: list[RoundRow]) -> dict[str, float]:
    nodes = [node for row in rounds for node in row.nodes]
    return {
        "rounds": len(rounds),
        "tokens": sum(len(row.emitted) for row in rounds),
        "nodes": len(nodes),
        "match_count": sum(node.match is True for node in nodes),
        "accepted_count": sum(node.accepted for node in nodes),
        "overlap_sum": sum(overlap(node.target_p, node.draft_p) or 0.0 for node in nodes),
        "verify_ms": sum(row.verify_ms or 0.0 for row in rounds),
    }


@pytest.mark.parametrize("end", [True, False], ids=["ended", "left"])
@pytest.mark.parametrize("number", [1, 7, 8, 9, 16, 20, 21])
@pytest.mark.parametrize("position", [0, 2])
def test_a_moment_counts_what_came_before_it(db: Database, position: int, number: int, end: bool) -> None:
    _, ids = decode(db, end=end)
    reader = Reader(db)
    figures = at(reader, 1, position, ids[position], number)
    seen: dict[str, list[RoundRow]] = {}
    for place, generation_id in enumerate(ids[: position + 1]):
        rounds = reader.rounds(generation_id, limit=number if place == position else None)
        seen.setdefault(TASKS[place], []).extend(rounds)
    assert figures.keys() == seen.keys()
    for task, rounds in seen.items():
        for name, value in counted(task, rounds).items():
            assert getattr(figures[task], name) == pytest.approx(value), name
        lengths = [row.accepted_length for row in rounds]
        assert figures[task].lengths == {n: lengths.count(n) for n in sorted(set(lengths))}


@pytest.mark.parametrize("end", [True, False], ids=["ended", "left"])
def test_the_last_moment_is_the_end(db: Database, end: bool) -> None:
    _, ids = decode(db, end=end)
    reader = Reader(db)
    last = at(reader, 1, 2, ids[2], 21)
    for task, known in reader.figures(1).items():
        assert last[task].depths.keys() == known.depths.keys()
        assert (last[task].lengths, last[task].prompts) == (known.lengths, known.prompts)
        assert last[task].at_risk_count == known.at_risk_count
        assert last[task].survival == pytest.approx(known.survival)
    assert check(db) == []


@pytest.mark.parametrize("few", [0, 1000], ids=["by block", "by round"])
def test_stretches_are_the_course_of_the_session(
    db: Database, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moments, "FEW", few)
    _, ids = decode(db, end=False)
    reader = Reader(db)
    stretches = moments.stretches(reader, 1)
    assert [(s.generation_id, s.first, s.last) for s in stretches] == [
        (i, first, last) for i in ids for first, last in ((1, 8), (9, 16), (17, 21))
    ]
    whole = reader.session(1)
    assert sum(s.tokens for s in stretches) == whole.tokens
    assert sum(s.total_ms for s in stretches) == pytest.approx(whole.total_ms)
    for stretch in stretches:
        times = moments.round_times(reader, stretch)
        assert [t.number for t in times] == list(range(stretch.first, stretch.last + 1))
        assert sum(t.total_ms for t in times) == pytest.approx(stretch.total_ms)


def test_a_moment_reads_the_nodes_of_less_than_a_block(db: Database) -> None:
    """Fewer nodes than that are left in the table; the figures do not change."""
    _, ids = decode(db)
    reader = Reader(db)
    before = at(reader, 1, 2, ids[2], 18)
    db.execute(
        "DELETE FROM node WHERE round_id NOT IN (SELECT id FROM round WHERE generation_id = ? AND number > 16)",
        [ids[2]],
    )
    assert at(reader, 1, 2, ids[2], 18) == before


def test_a_prompt_begun_anew_begins_its_blocks_anew(db: Database) -> None:
    writer, ids = decode(db, end=False)
    assert db["rollup_block"].count == 6
    writer.restart_unfinished()
    assert db["rollup_block"].count == db["rollup_block_depth"].count == 0
    writer.start_generation(ids[0])
    for number in range(1, 10):
        writer.record_round(ids[0], make_round(number, parents=CHAIN))
    writer.finish_generation(ids[0], "finished")
    assert [row["last"] for row in db["rollup_block"].rows] == [8, 9]


def test_rounds_without_a_tree_make_blocks_too(db: Database) -> None:
    writer = claimed_writer(db, ("code",))
    writer.start_generation(1)
    for number in range(1, 10):
        writer.record_round(1, replace(make_round(number), nodes=[]))
    assert moments.figures({"code": moments.sums_within(Reader(db), 1, 9)})["code"].lengths == {0: 9}


def test_older_sessions_get_the_blocks_a_writer_makes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollups, "BLOCK", 128)
    fresh = connect(path)
    writer = SessionWriter(fresh, make_session(fresh, ("code",)))
    writer.claim()
    writer.start_generation(1)
    for record in random_rounds(300, seed=4):
        writer.record_round(1, record)
    writer.finish_generation(1, "finished")
    tables = ("rollup_block", "rollup_block_depth")
    made = [fresh.execute(f"SELECT * FROM {table}").fetchall() for table in tables]
    assert [row[1] for row in made[0]] == [128, 256, 300]
    columns = [", ".join(row[1] for row in fresh.execute(f"PRAGMA table_info({table})")) for table in tables]
    for table in tables:
        fresh.execute(f"DROP TABLE {table}")
    for statement in dict(STEPS)["0004_blocks"]:  # of the day before blocks
        fresh.execute(statement)
    fresh.execute("ALTER TABLE rollup_block_depth ADD COLUMN unjudged_count INTEGER NOT NULL DEFAULT 0")
    for table, names, rows in zip(tables, columns, made, strict=True):
        again = fresh.execute(f"SELECT {names} FROM {table}").fetchall()
        assert [pytest.approx(row) for row in rows] == again
    assert check(fresh) == []
    fresh.close()


def test_blocks_that_do_not_add_up_are_found(db: Database) -> None:
    decode(db)
    db.execute("UPDATE rollup_block SET tokens = tokens + 1 WHERE generation_id = 2 AND last = 8")
    (problem,) = check(db)
    assert problem.endswith("prompt 2: its blocks of rounds do not add up to its counts")
