"""Protects: for any trees and paths, rollups equal a recount from the nodes, and the check finds nothing."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlite_utils import Database

from spectui.store.care.check import check
from spectui.store.counts.recount import rebuild
from spectui.store.reading.reader import Reader
from spectui.store.records import Cut, RoundRecord
from spectui.store.rows import RoundRow, TaskFigures
from spectui.store.sqlite.transactions import transaction
from spectui.store.writing.writer import SessionWriter
from tests.store.samples import make_round, make_session, random_path


@st.composite
def round_records(draw: st.DrawFn) -> RoundRecord:
    """Any tree of up to 12 nodes with any path, cut or not, drafted with or without probabilities."""
    size = draw(st.integers(0, 12))
    parents = [draw(st.sampled_from([None, *range(i)])) for i in range(size)]
    seed = draw(st.integers(0, 2**32))
    path = random_path(parents, random.Random(seed))
    cut: Cut | None = draw(st.sampled_from([None, "eos", "length"])) if path else None
    bonus = None if cut else draw(st.sampled_from([None, 7]))
    return make_round(
        parents=parents, path=path, bonus=bonus, cut=cut, seed=seed, drafted=draw(st.booleans())
    )


sessions = st.lists(
    st.tuples(st.sampled_from(["code", "math", "rag"]), st.lists(round_records(), max_size=4)),
    min_size=1,
    max_size=4,
)


@settings(max_examples=40, deadline=None)
@given(prompts=sessions, drop=st.booleans())
def test_rollups_equal_a_recount(prompts: list[tuple[str, list[RoundRecord]]], drop: bool) -> None:
    db = empty_database()
    session_id = make_session(db, [task for task, _ in prompts])
    writer = SessionWriter(db, session_id)
    writer.claim()
    for generation, (_, records) in zip(writer.pending_generations(), prompts, strict=True):
        writer.start_generation(generation.id)
        prefix = 10
        for number, record in enumerate(records, 1):
            writer.record_round(generation.id, replace(record, number=number, prefix_length=prefix))
            prefix += record.accepted_length + (record.bonus_token_id is not None)
        if not drop:
            writer.finish_generation(generation.id, "finished", finish_reason="length")
    assert check(db) == []

    reader = Reader(db)
    for task, figures in reader.figures(session_id).items():
        rounds = [
            round_row
            for generation_row in reader.generations(session_id)
            if generation_row.task == task
            for round_row in reader.rounds(generation_row.id)
        ]
        assert_figures_are_those_of(figures, rounds)

    assert_charts_are_those_of(reader, session_id)

    with transaction(db.conn):
        db.execute("UPDATE generation SET node_count = 99, verify_ms = -1")
        db.execute("UPDATE rollup_task SET bins = x'00'")
        db.execute("UPDATE rollup_task SET tokens = 99")
        db.execute("DELETE FROM rollup_depth")
        rebuild(db.conn, session_id)
    assert check(db) == []

    # A worker that goes on drops the prompts that were left in the middle, and what they counted.
    writer.claim()
    writer.restart_unfinished()
    assert check(db) == []
    assert reader.session(session_id).rounds == (0 if drop else sum(len(records) for _, records in prompts))
    db.close()


def assert_figures_are_those_of(figures: TaskFigures, rounds: list[RoundRow]) -> None:
    """The definitions of design.md once more, node by node in plain Python."""
    nodes = [(r, n) for r in rounds for n in r.nodes]
    at_risk = {
        (r.id, n.idx)
        for r, n in nodes
        if (n.parent is None or r.nodes[n.parent].accepted)
        and not (r.cut and n.parent == (r.accepted_path[-1].idx if r.accepted_path else None))
    }
    overlaps = [min(1.0, n.target_p / n.draft_p) for _, n in nodes if n.draft_p and n.target_p is not None]
    assert figures.rounds == len(rounds)
    assert figures.nodes == len(nodes)
    assert figures.tokens == sum(len(r.emitted) for r in rounds)
    assert figures.match_count == sum(n.match is True for _, n in nodes)
    assert figures.accepted_count == sum(n.accepted for _, n in nodes)
    assert figures.at_risk_count == len(at_risk)
    assert figures.overlap_count == len(overlaps)
    assert figures.overlap_sum == pytest.approx(sum(overlaps))
    assert figures.lengths == Counter(len(r.accepted_path) for r in rounds)
    for depth, at in figures.depths.items():
        assert at.nodes == sum(n.depth == depth for _, n in nodes)
        assert at.rounds_reached == sum(r.accepted_length >= depth for r in rounds)
        assert at.rounds_at_risk == len(
            {r.id for r, n in nodes if n.depth == depth and (r.id, n.idx) in at_risk}
        )
    assert sum(at.nodes for at in figures.depths.values()) == len(nodes)


def assert_charts_are_those_of(reader: Reader, session_id: int) -> None:
    """The bins once more, node by node in plain Python."""
    bins = reader.bins(session_id)
    for task, figures in reader.figures(session_id).items():
        rounds = [r for g in reader.generations(session_id) if g.task == task for r in reader.rounds(g.id)]
        nodes = [n for r in rounds for n in r.nodes if n.draft_p is not None]
        for each_bin in bins[task].probability:
            inside = [n for n in nodes if each_bin.low <= (n.draft_p or 0) < each_bin.high]
            assert (each_bin.nodes, each_bin.matched) == (len(inside), sum(n.match is True for n in inside))
            assert each_bin.accepted == sum(n.accepted for n in inside)
        for part in bins[task].entropy:
            inside = [n for n in nodes if part.low <= (n.draft_entropy or 0) < part.high]
            assert (part.matched, part.unmatched) == (
                sum(n.match is True for n in inside),
                sum(not n.match for n in inside),
            )
        if figures.overlap_count == figures.nodes:
            assert sum(each_bin.at_risk for each_bin in bins[task].probability) == figures.at_risk_count


def empty_database() -> Database:
    """In memory, because the property is about counts and is tried many times."""
    from spectui.store.schema.migrations import migrations

    db = Database(memory=True)
    db.conn.isolation_level = None
    migrations().apply(db)
    db.execute("PRAGMA foreign_keys = ON")
    return db


@pytest.mark.parametrize(("cut", "expected"), [(None, 0.5), ("length", 1.0)])
def test_a_cut_path_says_nothing_about_the_step_below_it(cut: Cut | None, expected: float) -> None:
    db = empty_database()
    writer = SessionWriter(db, make_session(db, ["code"]))
    writer.claim()
    (generation,) = writer.pending_generations()
    writer.start_generation(generation.id)
    chain = [None, 0]
    writer.record_round(generation.id, make_round(1, parents=chain, path=[0, 1]))
    writer.record_round(
        generation.id,
        make_round(2, parents=chain, path=[0], prefix_length=13, cut=cut, bonus=None if cut else 7),
    )
    assert Reader(db).figures(1)["code"].depths[2].hazard == expected
    db.close()
