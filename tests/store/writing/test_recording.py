"""Protects: what a round adds to sums and rollups, against numbers worked out by hand, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from sqlite_utils import Database

from spectui.store.care.check import check
from spectui.store.errors import StoreError
from spectui.store.reading.reader import Reader
from spectui.store.records import NodeRecord, RoundRecord
from spectui.store.rows import DepthFigures
from spectui.store.writing.writer import SessionWriter
from tests.store.samples import claimed_writer, make_round, make_session


def node(
    idx: int,
    parent: int | None,
    depth: int,
    rank: int,
    q: float | None,
    p: float,
    *,
    match: bool,
    accepted: bool,
) -> NodeRecord:
    return NodeRecord(idx, parent, depth, rank, 100 + idx, q, p, 1.0, 2.0, match, accepted)


# Two children of the root, each with one child; the path ends at node 0, whose child was refused.
REFUSED = RoundRecord(
    number=1,
    prefix_length=10,
    accepted_length=1,
    bonus_token_id=55,
    cut=None,
    draft_ms=1.0,
    verify_ms=10.0,
    other_ms=0.5,
    nodes=[
        node(0, None, 1, 0, 0.5, 0.25, match=True, accepted=True),
        node(1, None, 1, 1, 0.2, 0.4, match=False, accepted=False),
        node(2, 0, 2, 0, 0.8, 0.2, match=False, accepted=False),
        node(3, 1, 2, 0, None, 0.9, match=True, accepted=False),
    ],
)
# The same tree; node 0 was the end token, so that node 2 never had its chance.
CUT = replace(REFUSED, number=2, prefix_length=12, bonus_token_id=None, cut="eos")


def test_counts_of_two_rounds_are_those_worked_out_by_hand(db: Database) -> None:
    writer = claimed_writer(db, ["code"])
    (generation,) = writer.pending_generations()
    writer.start_generation(generation.id, 9)
    writer.record_round(generation.id, REFUSED)
    writer.record_round(generation.id, CUT)
    writer.finish_generation(generation.id, "finished", output="hi", finish_reason="eos")

    figures = Reader(db).figures(1)["code"]
    assert (figures.prompts, figures.rounds, figures.nodes, figures.tokens) == (1, 2, 8, 3)
    # At risk: nodes 0, 1 and 2 of the first round, nodes 0 and 1 of the one that was cut.
    assert (figures.match_count, figures.at_risk_count, figures.accepted_count) == (4, 5, 2)
    assert figures.overlap_sum == pytest.approx(2 * (0.5 + 1.0 + 0.25))
    assert figures.overlap_count == 6
    assert (figures.draft_ms, figures.verify_ms, figures.other_ms) == (2.0, 20.0, 1.0)
    assert figures.lengths == {1: 2}
    assert figures.depths == {
        1: DepthFigures(2, 4, 2, 3.0, 4, 0, depth=1, nodes=4, rounds_at_risk=2, rounds_reached=2),
        2: DepthFigures(2, 1, 0, 0.5, 2, 0, depth=2, nodes=4, rounds_at_risk=1, rounds_reached=0),
    }
    assert figures.accepted_at_risk == 2 / 5
    assert figures.match_rate == 4 / 8
    assert figures.mean_accepted_length == 1.0
    assert figures.tokens_per_round == 3 / 2
    assert figures.survival == [1.0, 0.0]

    row = Reader(db).generation(generation.id)
    assert (row.token_count, row.round_count, row.node_count, row.at_risk_count) == (3, 2, 8, 5)
    assert (row.status, row.output, row.finish_reason, row.prompt_tokens) == ("finished", "hi", "eos", 9)
    assert row.started_at is not None
    assert row.ended_at is not None
    assert row.ended_at >= row.started_at


def test_a_round_reads_back_as_it_was_written(db: Database) -> None:
    writer = claimed_writer(db, ["code"])
    (generation,) = writer.pending_generations()
    writer.start_generation(generation.id)
    written = make_round(path=[1, 4, 10])
    writer.record_round(generation.id, written)
    (read,) = Reader(db).rounds(generation.id)
    assert list(read.nodes) == list(written.nodes)
    assert all(isinstance(n.match, bool) and isinstance(n.accepted, bool) for n in read.nodes)
    for name in (
        "number",
        "prefix_length",
        "accepted_length",
        "bonus_token_id",
        "cut",
        "draft_ms",
        "verify_ms",
    ):
        assert getattr(read, name) == getattr(written, name)


def test_a_drafter_without_probabilities_stores_nulls(db: Database) -> None:
    writer = claimed_writer(db, ["code"])
    (generation,) = writer.pending_generations()
    writer.start_generation(generation.id)
    writer.record_round(generation.id, make_round(1, path=[0], drafted=False))
    nan = float("nan")
    unknown = make_round(2, path=[0], prefix_length=12)
    unknown = replace(unknown, nodes=[n._replace(draft_p=nan, draft_entropy=nan) for n in unknown.nodes])
    writer.record_round(generation.id, unknown)
    known = db.execute("SELECT count(*), count(draft_p), count(draft_entropy) FROM node").fetchone()
    assert known == (28, 0, 0)
    figures = Reader(db).figures(1)["code"]
    assert figures.overlap_count == 0
    assert figures.mean_overlap is None
    assert check(db) == []


def test_a_round_without_a_tree_is_a_round(db: Database) -> None:
    writer = claimed_writer(db, ["code"])
    (generation,) = writer.pending_generations()
    writer.start_generation(generation.id)
    writer.record_round(generation.id, make_round(parents=[]))
    figures = Reader(db).figures(1)["code"]
    assert (figures.rounds, figures.tokens, figures.nodes, figures.lengths, figures.depths) == (
        1,
        1,
        0,
        {0: 1},
        {},
    )
    assert Reader(db).rounds(generation.id)[0].nodes == ()
    assert check(db) == []


def swap(index: int, **changes: Any) -> Callable[[RoundRecord], RoundRecord]:
    def apply(record: RoundRecord) -> RoundRecord:
        nodes = list(record.nodes)
        nodes[index] = nodes[index]._replace(**changes)
        return replace(record, nodes=nodes)

    return apply


BROKEN: dict[str, tuple[Callable[[RoundRecord], RoundRecord], str]] = {
    "index": (swap(3, idx=9), "calls itself 9"),
    "parent after child": (swap(3, parent=7), "has parent 7"),
    "negative parent": (swap(3, parent=-1), "has parent -1"),
    "depth": (swap(3, depth=3), "has depth 3, not 2"),
    "loose path": (swap(5, accepted=True), "is accepted, its parent is not"),
    "forked path": (swap(3, accepted=True), "two nodes of one depth"),
    "accepted length": (lambda r: replace(r, accepted_length=3), "2 nodes are accepted, not 3"),
    "no target probability": (swap(0, target_p=float("nan")), "target probability nan"),
    "a second time": (lambda r: replace(r, number=1), "not the next"),
    "a gap": (lambda r: replace(r, number=3), "not the next"),
    "not a number": (swap(0, token_id=object()), "database"),
    "a broken entropy": (swap(6, target_entropy=float("nan")), "no target entropy"),
}


@pytest.mark.parametrize(("breaks", "reason"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_round_is_refused_and_leaves_no_trace(
    db: Database, breaks: Callable[[RoundRecord], RoundRecord], reason: str
) -> None:
    writer = claimed_writer(db, ["code"])
    (generation,) = writer.pending_generations()
    writer.start_generation(generation.id)
    writer.record_round(generation.id, make_round(1))
    before = list(db.conn.iterdump())
    good = make_round(2, path=[0, 2], prefix_length=11)
    with pytest.raises(StoreError, match=reason) as refusal:
        writer.record_round(generation.id, breaks(good))
    assert len(str(refusal.value).splitlines()) == 1
    assert list(db.conn.iterdump()) == before
    writer.record_round(generation.id, good)
    assert check(db) == []


def test_rounds_need_a_prompt_that_is_running_and_of_the_session(db: Database) -> None:
    writer = claimed_writer(db, ["code"])
    (generation,) = writer.pending_generations()
    with pytest.raises(StoreError, match="is not running"):
        writer.record_round(generation.id, make_round())
    writer.start_generation(generation.id)
    with pytest.raises(StoreError, match="started before"):
        writer.start_generation(generation.id)
    other = SessionWriter(db, make_session(db))
    with pytest.raises(StoreError, match="gone"):
        other.record_round(generation.id, make_round())
    writer.finish_generation(generation.id, "failed", error="too long")
    with pytest.raises(StoreError, match="is not running"):
        writer.record_round(generation.id, make_round())


def test_prompts_that_never_started_count_once_they_end(db: Database) -> None:
    writer = claimed_writer(db, ["code", "code", "math"])
    first, second, third = writer.pending_generations()
    writer.finish_generation(first.id, "skipped", finish_reason="skipped")
    writer.start_generation(second.id)
    writer.finish_generation(second.id, "failed", error="boom")
    reader = Reader(db)
    assert {task: f.prompts for task, f in reader.figures(1).items()} == {"code": 2}
    assert [row.id for row in writer.pending_generations()] == [third.id]
    assert reader.session(1).prompts_done == 2
    assert [g.error for g in reader.generations(1)] == [None, "boom", None]
    assert check(db) == []


def test_a_status_that_does_not_exist_is_refused(db: Database) -> None:
    writer = claimed_writer(db)
    (first, _) = writer.pending_generations()
    with pytest.raises(ValueError, match="no status of a session"):
        writer.set_status("sleeping")
    with pytest.raises(ValueError, match="no status of a generation"):
        writer.finish_generation(first.id, "running")
    with pytest.raises(ValueError, match="no reason to finish"):
        writer.finish_generation(first.id, "finished", finish_reason="bored")
