"""Protects: rounds of servers in the store, whose unknown figures are unknown and never 0."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from spectui.servers.rounds import ServerRound, ended, to_record
from spectui.store.care.check import check
from spectui.store.counts.recount import rebuild
from spectui.store.database import connect, raw
from spectui.store.reading.moments import figures, stretches, sums_within
from spectui.store.reading.reader import Reader
from spectui.store.records import UNKNOWN_TOKEN
from spectui.store.sources import Server
from tests.before.files import unpack
from tests.store.samples import claimed_writer

ROUNDS = [
    ServerRound(3, 2, 3, ms=12.0, tokens=(4, 5, 6), prefix_length=11),
    ServerRound(0, 0, 1, ms=8.0, tokens=(7,), prefix_length=14),
    ServerRound(3, 0, 1, ms=12.0, tokens=(8,), prefix_length=15),
    ServerRound(2, 2, 2, ms=12.0, tokens=(9, 10), prefix_length=16, cut="length"),
]

AS_AN_OLDER_ONE = (
    "INSERT INTO round (generation_id, number, prefix_length, accepted_length, node_count, draft_ms, verify_ms,"
    " other_ms) SELECT generation_id, number + 1, prefix_length + accepted_length + (bonus_token_id IS NOT NULL), 1, 1,"
    " 1.0, 1.0, 1.0 FROM round WHERE generation_id = :generation ORDER BY number DESC LIMIT 1",
    'INSERT INTO node (round_id, idx, depth, rank, token_id, target_p, target_entropy, "match", accepted)'
    " SELECT max(id), 0, 1, 0, 1, 0.5, 1.0, 1, 1 FROM round",
    "UPDATE generation SET round_count = round_count + 1, token_count = token_count + 1, node_count = node_count + 1,"
    " match_count = match_count + 1, at_risk_count = at_risk_count + 1, accepted_count = accepted_count + 1,"
    " draft_ms = draft_ms + 1, verify_ms = verify_ms + 1, other_ms = other_ms + 1 WHERE id = :generation",
    "UPDATE rollup_task SET rounds = rounds + 1, tokens = tokens + 1, nodes = nodes + 1, match_count = match_count + 1,"
    " at_risk_count = at_risk_count + 1, accepted_count = accepted_count + 1, draft_ms = draft_ms + 1,"
    " verify_ms = verify_ms + 1, other_ms = other_ms + 1 WHERE session_id = :session AND task = :task",
    "UPDATE rollup_length SET rounds = rounds + 1 WHERE session_id = :session AND task = :task AND accepted_length = 1",
    "UPDATE rollup_depth SET nodes = nodes + 1, match_count = match_count + 1, at_risk_count = at_risk_count + 1,"
    " accepted_count = accepted_count + 1, rounds_at_risk = rounds_at_risk + 1, rounds_reached = rounds_reached + 1"
    " WHERE session_id = :session AND task = :task AND depth = 1",
)
"""A round of one node, accepted, as a spectui from before there were servers records it."""


def test_what_a_server_keeps_to_itself_is_unknown_and_all_else_is_counted(tmp_path: Path) -> None:
    db = connect(tmp_path / "spectui.db")
    writer = claimed_writer(db, ["code"])
    (generation,) = writer.pending_generations()
    server = Server("llama.cpp", "http://127.0.0.1:1", "m", "b1", "draft-simple")
    writer.describe(source="llama.cpp stream", server_json=server.to_json())
    writer.start_generation(generation.id)
    writer.note_prompt(generation.id, 10, 3)
    for number, each in enumerate(ROUNDS, 1):
        writer.record_round(generation.id, to_record(number, each))
    writer.finish_generation(generation.id, "finished", output="hi", finish_reason="length")
    reader = Reader(db)
    for _ in range(2):  # as counted while recording, and by a recount
        summary, task = reader.session(1), reader.figures(1)["code"]
        assert (summary.match_rate, summary.draft_ms, summary.verify_ms) == (None, None, None)
        assert (summary.tokens, summary.rounds, summary.nodes, summary.total_ms) == (7, 4, 8, 44.0)
        assert (task.match_rate, task.mean_overlap) == (None, None)
        assert task.mean_accepted_length == 4 / 4
        assert [depth.hazard for depth in task.depths.values()] == [2 / 3, 2 / 2, 0 / 1]
        assert task.survival == [2 / 4, 2 / 4, 0 / 3]
        assert figures({"code": sums_within(reader, generation.id, 4)})["code"] == task
        assert check(db) == []
        rebuild(raw(db), 1)
    assert (summary.source, summary.server) == ("llama.cpp stream", server)
    assert [row.total_ms for row in stretches(reader, 1)] == [44.0]
    row = reader.generation(generation.id)
    assert (row.prompt_tokens, row.first_token_id, row.match_rate, row.draft_ms) == (10, 3, None, None)
    first, plain, *_ = reader.rounds(generation.id)
    assert first.emitted == (4, 5, 6)
    assert (first.nodes[2].token_id, first.nodes[2].target_p, first.nodes[2].match) == (
        UNKNOWN_TOKEN,
        None,
        None,
    )
    assert (plain.nodes, plain.emitted) == ((), (7,))
    db.close()


def test_rounds_without_places_tokens_or_times_are_kept(tmp_path: Path) -> None:
    db = connect(tmp_path / "spectui.db")
    writer = claimed_writer(db, ["code"])
    (generation,) = writer.pending_generations()
    writer.start_generation(generation.id)
    for number, each in enumerate([ServerRound(3, 1, 2), ServerRound(3, 0, 1)], 1):
        writer.record_round(generation.id, to_record(number, each))
    writer.finish_generation(generation.id, "finished")
    summary = Reader(db).session(1)
    assert (summary.tokens, summary.other_ms, summary.tokens_per_second) == (3, None, None)
    assert [row.prefix_length for row in Reader(db).rounds(generation.id)] == [None, None]
    assert check(db) == []
    db.close()


def test_an_older_worker_goes_on_in_a_file_that_was_upgraded_beneath_it(tmp_path: Path) -> None:
    path = unpack(tmp_path) / "before.db"
    with closing(sqlite3.connect(path)) as older:
        generation, session, task = older.execute(
            "SELECT id, session_id, task FROM generation WHERE round_count > 0"
            " AND id NOT IN (SELECT generation_id FROM pruned) LIMIT 1"
        ).fetchone()
        older.execute("UPDATE generation SET status = 'running' WHERE id = ?", (generation,))
        older.commit()
        db = connect(path)
        rate = Reader(db).session(session).match_rate
        names = {"generation": generation, "session": session, "task": task}
        with older:
            for statement in AS_AN_OLDER_ONE:
                assert older.execute(statement, names).rowcount == 1
    summary = Reader(db).session(session)
    assert rate is not None
    assert summary.match_rate == (rate * (summary.nodes - 1) + 1) / summary.nodes
    assert check(db) == []
    db.close()


def test_an_older_file_takes_them(tmp_path: Path) -> None:
    db = connect(unpack(tmp_path) / "before.db")
    writer = claimed_writer(db, ["code"])
    (generation,) = writer.pending_generations()
    writer.start_generation(generation.id)
    writer.record_round(generation.id, to_record(1, ROUNDS[0]))
    tables = ("rollup_task", "rollup_depth", "rollup_block_depth")
    for table in tables:
        sql = f"SELECT count(*) FROM {table} WHERE unjudged_count != 0"
        assert db.execute(sql).fetchone()[0] == {"rollup_task": 1, "rollup_depth": 3}.get(table, 0)
    assert check(db) == []
    assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()


@pytest.mark.parametrize(
    ("rounds", "tokens", "reason", "expected"),
    [
        # vLLM, the draft model being the target: 64 tokens = 1 + 16 * (3 + 1) - 1.
        ([(3, 3)] * 16, 63, "length", [(3, 3, 4, None)] * 15 + [(3, 3, 3, "length")]),
        # Accepted beyond an end token.
        ([(3, 1), (3, 3)], 3, "stop", [(3, 1, 2, None), (3, 1, 1, "eos")]),
        # llama.cpp drafts 2 where there is room for 3: the third was never at risk.
        ([(3, 3), (2, 2)], 7, "length", [(3, 3, 4, None), (2, 2, 3, "length")]),
        # A refused draft is refused, at the limit as well.
        ([(3, 1), (2, 1)], 4, "length", [(3, 1, 2, None), (2, 1, 2, None)]),
        ([(3, 2), (3, 2), (3, 2)], 4, "length", [(3, 2, 3, None), (3, 1, 1, "length")]),
    ],
)
def test_ends_are_those_of_the_engine(
    rounds: list[tuple[int, int]], tokens: int, reason: str, expected: list[tuple[int, int, int, str | None]]
) -> None:
    kept = ended([ServerRound(d, a, a + 1) for d, a in rounds], tokens, reason)
    assert [(r.drafted, r.accepted, r.emitted, r.cut) for r in kept] == expected
