"""Protects: a run goes on after whatever happens to its worker, and comes out as if nothing had."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from spectui.store.reading.reader import Reader
from spectui.store.writing.baselines import baselines
from tests.decoding.worker.kills import kill_again_and_again
from tests.decoding.worker.workers import TEXTS, Worked, make_model
from tests.waiting import until

Begin = Callable[..., Worked]
KILLS = 10
ENDLESS = {"max_new_tokens": 3000, "draft": "recycling", "tree": "chain:1"}
"""Still at work whatever a test does to it."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("survival") / "tiny"
    make_model(folder)
    return folder


@pytest.fixture
def begin(tmp_path: Path, model: Path) -> Iterator[Begin]:
    begun: list[Worked] = []

    def begin_one(target: Path = model, **options: object) -> Worked:
        begun.append(Worked(tmp_path, target, **options))  # type: ignore[arg-type]
        return begun[-1]

    yield begin_one
    for session in begun:
        session.close()


def test_a_run_killed_again_and_again_comes_out_as_one_that_was_not(begin: Begin) -> None:
    whole = begin(name="whole", max_new_tokens=60)
    whole.work()
    assert whole.ended() == 0, whole.log_text()
    expected = whole.outputs()
    assert {status for status, _, _ in expected} == {"finished"}
    tally = kill_again_and_again(
        lambda name: begin(name=name, max_new_tokens=60), expected, KILLS, random.Random(20261123)
    )
    print(tally)
    assert tally.problems == []
    assert (tally.kills, tally.rounds_lost) == (KILLS, 0)
    with Reader(whole.database) as reader:
        assert "resumed" in {e.kind for s in reader.sessions() for e in reader.events(s.id)}


def test_a_stopped_prompt_is_decoded_again_from_its_beginning(begin: Begin) -> None:
    whole, stopped = begin(name="whole", max_new_tokens=200), begin(name="stopped", max_new_tokens=200)
    whole.work()
    stopped.work(stop_after=5)
    assert stopped.ended() == 0
    assert stopped.now().status == "stopped"
    assert "stopped" in {reason for _, reason, _ in stopped.outputs()}
    with Reader(stopped.database) as reader:
        before = baselines(reader, stopped.now().id)
    assert before
    stopped.work()
    assert stopped.ended() == whole.ended() == 0, stopped.log_text()
    assert stopped.outputs() == whole.outputs()
    with Reader(stopped.database) as reader:
        measured = baselines(reader, stopped.now().id)
    assert len(measured) == stopped.now().baseline_count > len(before)  # anew: the machine may be another
    assert measured[: len(before)] == before
    assert stopped.problems() == []


def test_other_model_files_are_refused_by_name_unless_forced(
    begin: Begin, model: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(model, copy)
    session = begin(copy, **ENDLESS)
    session.work()
    session.until_rounds(4)
    session.kill()
    rounds, outputs = session.now().rounds, session.outputs()
    config = json.loads((copy / "generation_config.json").read_text())
    (copy / "generation_config.json").write_text(json.dumps({**config, "eos_token_id": [2, 5]}))
    session.work()
    assert session.ended() == 1
    row = session.now()
    assert row.status == "interrupted"  # as it was
    assert row.error == (
        "session 'test' cannot go on as it began: the target's generation_config.json has changed"
        " (--force goes on all the same)"
    )
    assert row.error in session.log_text()
    assert (row.rounds, session.outputs()) == (rounds, outputs)
    session.work(force=True)
    session.until_rounds(2)
    session.send("stop")
    assert session.ended() == 0
    kinds = [event.kind for event in session.reader.events(session.id)]
    assert kinds == ["refused", "forced", "resumed"]
    assert session.problems() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("when", ["loading", "decoding", "paused"])
def test_a_signal_closes_the_session_and_ends_the_worker_with_0(
    begin: Begin, number: signal.Signals, when: str
) -> None:
    session = begin(**ENDLESS)
    session.work()
    if when != "loading":
        session.until_rounds(2)
    if when == "paused":
        session.send("pause")
        until(lambda: session.now().status == "paused")
    os.kill(session.pid, number)
    assert session.ended() == 0, session.log_text()
    row = session.now()
    assert (row.status, row.error) == ("stopped", None)
    assert row.ended_at is not None
    assert "running" not in {status for status, _, _ in session.outputs()}
    assert session.problems() == []


def test_a_full_disk_halts_the_run_until_there_is_room(begin: Begin) -> None:
    session = begin(**ENDLESS)
    session.work()
    session.until_rounds(5)
    log = session.database.with_name("runs.db-wal")
    session.allow_files_of(log.stat().st_size)
    until(lambda: "trying again" in session.log_text(), what=session.log_text)
    frozen = session.now().rounds
    session.allow_files_of(1 << 40)
    session.until_rounds(frozen + 5)
    assert session.now().status == "running"
    session.send("stop")
    assert session.ended() == 0
    assert "database" in {event.kind for event in session.reader.events(session.id)}
    assert session.problems() == []


def test_a_deleted_database_ends_the_run_in_one_line_and_is_rescued(begin: Begin) -> None:
    session = begin(**ENDLESS)
    session.work(SPECTUI_PATIENCE="0.2")
    session.until_rounds(5)
    away = session.database.with_name("away.db")
    session.database.rename(away)
    until(lambda: not session.alive, what=session.log_text)
    assert session.process is not None
    assert session.process.exitcode == 1
    last = session.log_text().splitlines()[-1]
    assert f"database {session.database} is gone" in last
    assert "runs.db.rescued-1" in last
    assert "Traceback" not in session.log_text()
    away.rename(session.database)
    assert session.problems() == []


@pytest.mark.parametrize(
    ("limit", "reached"), [({"max_nodes": 30}, "--max-nodes 30"), ({"max_tokens": 4}, "--max-tokens 4"),
                           ({"max_seconds": 0.05}, "--max-time 0.05s")],
)  # fmt: skip
def test_a_limit_ends_the_run_in_order_and_it_can_go_on(
    begin: Begin, limit: dict[str, float], reached: str
) -> None:
    session = begin(**ENDLESS, **limit)
    session.work()
    assert session.ended() == 0, session.log_text()
    row = session.now()
    assert (row.status, row.error) == ("stopped", None)
    assert [e.text for e in session.reader.events(session.id)] == [f"reached {reached}"]
    if "max_nodes" in limit:
        assert row.nodes == 30
    if "max_tokens" in limit:
        assert 4 <= row.tokens <= 5  # the round that reaches it is kept whole
        # The measurement of plain decoding, too, with fewer rounds after it than it is compared with else.
        assert len(baselines(session.reader, session.id)) == 1
    session.work()
    assert session.ended() == 0
    assert session.problems() == []


def test_a_run_that_keeps_rounds_alone_has_the_text_and_counts_of_one_that_keeps_all(begin: Begin) -> None:
    whole, thin = begin(name="whole"), begin(name="thin", keep_nodes="rounds")
    for session in (whole, thin):
        session.work()
        assert session.ended() == 0, session.log_text()
    assert thin.outputs() == whole.outputs()
    assert (thin.now().nodes, thin.now().pruned) == (whole.now().nodes, len(TEXTS))
    assert thin.problems() == []
    with Reader(thin.database) as reader:
        kept = [row for g in reader.generations(thin.id) for row in reader.rounds(g.id)]
    assert all(node.accepted for row in kept for node in row.nodes)


def test_logits_that_are_no_numbers_fail_the_prompt_and_not_the_run(begin: Begin, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    make_model(broken, broken=True)
    session = begin(broken)
    session.work()
    assert session.ended() == 0, session.log_text()
    assert session.now().status == "finished"
    assert [status for status, _, _ in session.outputs()] == ["failed"] * len(TEXTS)
    for generation in session.reader.generations(session.id):
        assert generation.error is not None
        assert "not finite numbers" in generation.error
    assert session.problems() == []
