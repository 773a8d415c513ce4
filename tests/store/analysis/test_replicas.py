"""Protects: the report tests the replica as a factor, finds one that differs, and none where replicas are alike."""

from __future__ import annotations

import random
from pathlib import Path

from spectui.store.analysis.as_json import report_json
from spectui.store.analysis.report import Report, build_report
from spectui.store.database import connect
from spectui.store.reading.reader import Reader
from spectui.store.writing.writer import SessionWriter
from spectui.tui.report.tables import tables
from tests.store.samples import FULL_3X2, make_round, make_session, random_path

PROMPTS, ROUNDS = 24, 12


def report(path: Path, *, worse: bool, replicas: int = 2) -> Report:
    """Of a session on replicas, the first of which accepts less where it is `worse`."""
    db = connect(path)
    session = make_session(db, ["code", "math"] * (PROMPTS // 2))
    writer = SessionWriter(db, session)
    writer.claim()
    rows = [writer.join_replica("processes", f"node-{i}", 10 + i)[0] for i in range(replicas)]
    rng = random.Random(1)
    for generation in writer.pending_generations():
        place = rng.randrange(replicas) if replicas else 0
        writer.start_generation(generation.id, 10, replica_id=rows[place] if rows else None)
        for number in range(1, ROUNDS + 1):
            path_ = random_path(FULL_3X2, rng)
            path_ = path_[:1] if worse and place == 0 else path_
            writer.record_round(generation.id, make_round(number, path=path_, seed=generation.position))
        writer.finish_generation(generation.id, "finished", finish_reason="length")
    writer.set_status("finished")
    with Reader(path) as reader:
        built = build_report(reader, session)
    db.close()
    return built


def test_a_replica_that_differs_is_found(tmp_path: Path) -> None:
    built = report(tmp_path / "a.db", worse=True)
    factor = built.replicas
    assert factor is not None
    assert factor.length_p is not None
    assert factor.length_p < 0.01
    first, second = factor.parts
    assert first.prompts + second.prompts == PROMPTS
    assert first.accepted_length is not None
    assert second.accepted_length is not None
    assert first.accepted_length < second.accepted_length
    assert (first.number, first.name) == (1, "node-0")


def test_replicas_that_are_alike_are_not_told_apart_and_the_table_says_so(tmp_path: Path) -> None:
    built = report(tmp_path / "a.db", worse=False)
    factor = built.replicas
    assert factor is not None
    assert factor.length_p is not None
    assert factor.length_p > 0.05
    (grid,) = (each for each in tables(built) if each.key == "replicas")
    assert [row[0] for row in grid.texts()] == ["replica 1", "replica 2"]
    assert "p = " in grid.note
    assert report_json(built)["replicas"]["length_p"] == factor.length_p


def test_a_session_of_one_has_no_such_factor(tmp_path: Path) -> None:
    for count in (0, 1):
        built = report(tmp_path / f"{count}.db", worse=False, replicas=count)
        assert built.replicas is None
        assert "replicas" not in report_json(built)
