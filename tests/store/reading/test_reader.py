"""Protects: what views are handed: sessions, prompts, rounds, tokens, figures."""

from __future__ import annotations

import itertools
import sqlite3
from pathlib import Path

import pytest
from sqlite_utils import Database

from spectui.store.counts import metrics
from spectui.store.database import connect
from spectui.store.errors import StoreError
from spectui.store.reading.reader import Reader
from spectui.store.records import PromptRecord
from spectui.store.rows import OutputSample
from spectui.store.sessions import create_session
from spectui.store.writing.writer import SessionWriter
from tests.store.samples import claimed_writer, make_session, random_rounds, record_all


def test_a_session_reads_back_whole(db: Database) -> None:
    session_id = create_session(
        db,
        name="friday",
        config_json='{"seed": 3}',
        target="T",
        drafter="D",
        tree="chain:5",
        prompts=[
            PromptRecord("a", "math", "1+1?"),
            PromptRecord("b", "code", "x"),
            PromptRecord("c", "math", "2?"),
        ],
        notes="why not",
    )
    reader = Reader(db)
    summary = reader.session(session_id)
    assert (summary.name, summary.target, summary.drafter, summary.tree) == ("friday", "T", "D", "chain:5")
    assert (summary.config, summary.notes, summary.versions, summary.gpu) == (
        {"seed": 3},
        "why not",
        {},
        None,
    )
    assert (summary.status, summary.prompt_count, summary.prompts_done) == ("starting", 3, 0)
    assert list(summary.tasks.items()) == [("math", 2), ("code", 1)]
    assert (summary.tokens, summary.rounds, summary.nodes) == (0, 0, 0)
    assert summary.match_rate is summary.accepted_at_risk is summary.mean_accepted_length is None
    assert summary.tokens_per_second is summary.speedup is None
    assert reader.figures(session_id) == {}

    writer = SessionWriter(db, session_id)
    writer.claim()
    assert writer.config_json() == '{"seed": 3}'
    writer.set_stage("loading the target", 3, 10, "MB")
    writer.describe(device="cpu", tokenizer_id="tok", versions={"torch": "2"}, log_path="/l")
    writer.heartbeat(150.0, 2_000_000, {"name": "H200"})
    summary = reader.session(session_id)
    assert (summary.stage, summary.stage_done, summary.stage_total, summary.stage_unit) == (
        "loading the target",
        3,
        10,
        "MB",
    )
    assert (summary.device, summary.tokenizer_id, summary.versions) == ("cpu", "tok", {"torch": "2"})
    assert (summary.cpu_percent, summary.rss_bytes, summary.gpu) == (150.0, 2_000_000, {"name": "H200"})
    assert (summary.baseline_ms, summary.log_path, summary.live) == (None, "/l", True)
    assert summary.started_at is not None
    assert summary.ended_at is None
    writer.set_status("failed", error="out of memory")
    summary = reader.session(session_id)
    assert (summary.status, summary.error, summary.live) == ("failed", "out of memory", False)
    assert summary.ended_at is not None


def test_totals_of_a_session_are_the_sums_of_its_tasks(db: Database) -> None:
    make_session(db)
    session_id = record_all(db, ["code", "math", "code"], 20)
    make_session(db, ["chat"])
    reader = Reader(db)
    figures = reader.figures(session_id)
    assert list(figures) == ["code", "math"]
    summary = reader.session(session_id)
    assert summary.rounds == sum(f.rounds for f in figures.values()) == 60
    assert summary.tokens == sum(f.tokens for f in figures.values())
    assert summary.nodes == 60 * 14
    assert summary.total_ms == pytest.approx(sum(f.total_ms for f in figures.values()))
    accepted = sum(f.accepted_count for f in figures.values())
    assert summary.mean_accepted_length == pytest.approx(accepted / 60)
    assert summary.accepted_at_risk == pytest.approx(
        accepted / sum(f.at_risk_count for f in figures.values())
    )
    assert summary.tokens_per_round == pytest.approx(summary.tokens / 60)
    assert summary.prompts_done == summary.prompt_count == 3
    # One by one or all together, the same.
    assert [s for s in reader.sessions() if s.id == session_id] == [summary]
    assert [s.id for s in reader.sessions()] == [3, 2, 1]
    assert [s.tasks for s in reader.sessions()] == [
        {"chat": 1},
        {"code": 2, "math": 1},
        {"code": 1, "math": 1},
    ]


def test_for_one_tree_shape_survival_gives_the_measured_length(db: Database) -> None:
    session_id = record_all(db, ["code"], 200)
    figures = Reader(db).figures(session_id)["code"]
    assert figures.expected_length == pytest.approx(figures.mean_accepted_length)
    assert len(figures.survival) == 3


def test_sessions_are_found_by_id_name_or_last(db: Database) -> None:
    reader = Reader(db)
    with pytest.raises(StoreError, match="no sessions yet"):
        reader.session("last")
    for name in ("friday-study", "quiet-otter", "friday-night"):
        make_session(db, name=name)
    # "2\x1f": blank to `strip`, but not to `int`.
    refs = (2, "2", "2\x1f", "quiet-otter", "last", " friday-study ")
    assert [reader.session(ref).id for ref in refs] == [2, 2, 2, 2, 3, 1]
    with pytest.raises(StoreError, match="no session"):
        reader.session("9" * 5000)  # more digits than `int` takes
    with pytest.raises(StoreError, match=r"no session 'friday-studie'; did you mean friday-study"):
        reader.session("friday-studie")
    with pytest.raises(StoreError, match=r"no session '9'; did you mean"):
        reader.session(9)


def test_rounds_come_in_order_and_in_pieces(db: Database) -> None:
    writer = claimed_writer(db, ["code", "math"])
    first, second = writer.pending_generations()
    writer.start_generation(first.id)
    writer.start_generation(second.id)
    for one, other in zip(random_rounds(30, seed=1), random_rounds(30, seed=2), strict=True):
        writer.record_round(first.id, one)
        writer.record_round(second.id, other)
    reader = Reader(db)
    rounds = reader.rounds(second.id)
    assert [r.number for r in rounds] == list(range(1, 31))
    assert all([n.idx for n in r.nodes] == list(range(14)) for r in rounds)
    assert [list(r.nodes) for r in rounds] == [list(r.nodes) for r in random_rounds(30, seed=2)]
    assert reader.rounds(second.id, after=10, limit=5) == rounds[10:15]
    assert reader.rounds(second.id, after=28) == rounds[28:]
    assert reader.rounds(second.id, after=30) == []
    assert reader.rounds(999) == []
    # What a round adds is what the next one starts from.
    for before, after in itertools.pairwise(rounds):
        assert after.prefix_length == (before.prefix_length or 0) + len(before.emitted)


def test_prompts_read_back_in_order_with_or_without_texts(db: Database) -> None:
    session_id = record_all(db, ["code", "math"], 2)
    reader = Reader(db)
    rows = reader.generations(session_id)
    assert [(r.position, r.task, r.prompt_id, r.prompt_text, r.output) for r in rows] == [
        (0, "code", "code-0", "prompt 0", "done"),
        (1, "math", "math-1", "prompt 1", "done"),
    ]
    bare = reader.generations(session_id, texts=False)
    assert [(r.prompt_text, r.output, r.id, r.prompt_id) for r in bare] == [
        ("", "", row.id, row.prompt_id) for row in rows
    ]
    assert reader.generation(rows[1].id) == rows[1]
    with pytest.raises(StoreError, match="no prompt 99"):
        reader.generation(99)


def test_the_sample_of_a_session_is_its_first_output(db: Database) -> None:
    reader = Reader(db)
    assert reader.output_sample(make_session(db)) is None
    session_id = record_all(db, ["code", "math"], 3)
    assert reader.output_sample(session_id) == OutputSample("code", "prompt 0", "done")
    assert reader.output_sample(session_id, 3) == OutputSample("code", "pro", "don")


def test_tokens_keep_their_bytes(db: Database) -> None:
    writer = claimed_writer(db)
    writer.add_tokens("smol", {5: b"\xe2\x82", 6: b" the", 7: b""})
    writer.add_tokens("smol", {6: b"something else", 8: b"\x1b[31m"})
    writer.add_tokens("other", {6: b"six"})
    reader = Reader(db)
    assert reader.tokens("smol", [5, 6, 8, 9, 6]) == {5: b"\xe2\x82", 6: b" the", 8: b"\x1b[31m"}
    assert reader.tokens("other", range(100_000)) == {6: b"six"}
    assert reader.tokens("smol", []) == {}


def test_figures_and_summaries_never_look_at_nodes(db: Database) -> None:
    session_id = record_all(db, ["code", "math"], 10)
    looked_at: set[str] = set()

    def authorize(action: int, table: str | None, *_: object) -> int:
        if action == sqlite3.SQLITE_READ and table:
            looked_at.add(table)
        return sqlite3.SQLITE_OK

    reader = Reader(db)
    db.conn.set_authorizer(authorize)
    reader.figures(session_id)
    reader.sessions()
    reader.intervals(session_id)
    db.conn.set_authorizer(None)
    # Of rounds the few whose path was cut, by an index that has no others.
    rollups = {"rollup_task", "rollup_length", "rollup_depth"}
    assert looked_at == {"session", "generation", "pruned", "replica", "round", *rollups}
    sql = metrics.CUTS_SQL.format(which="generation.session_id = 1")
    plan = [row[-1] for row in db.execute(f"EXPLAIN QUERY PLAN {sql}")]
    assert any("round USING COVERING INDEX round_cut" in step for step in plan), plan


def test_the_list_of_sessions_reads_no_texts(db: Database) -> None:
    plan = db.execute(
        "EXPLAIN QUERY PLAN SELECT session_id, task, count(*), min(position), sum(status = 'x') FROM generation"
        " GROUP BY session_id, task"
    ).fetchall()
    assert "COVERING INDEX generation_progress" in plan[0][3]


def test_a_path_is_closed_and_a_connection_left_open(path: Path) -> None:
    connection = connect(path)
    Reader(connection).close()
    assert connection.execute("SELECT 1").fetchone() == (1,)
    with Reader(path) as reader:
        assert reader.sessions() == []
    with pytest.raises(StoreError, match="closed"):
        reader.sessions()
    connection.close()
