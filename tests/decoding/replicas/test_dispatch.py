"""Protects: whatever happens to replicas, every round is recorded once, and the run ends as it should."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from spectui.decoding.config import RunConfig
from spectui.decoding.errors import DecodingError
from spectui.decoding.models.fingerprint import Basis
from spectui.decoding.replicas import dispatch
from spectui.decoding.replicas.dispatch import ATTEMPTS, Dispatcher
from spectui.decoding.replicas.members import SILENCE
from spectui.decoding.replicas.messages import Batch
from spectui.decoding.replicas.session import ReplicaRun
from spectui.decoding.replicas.transport import Answer
from spectui.decoding.worker.control import Control, LimitReached, Limits, Stopped
from spectui.store.care.check import check
from spectui.store.database import connect
from spectui.store.reading.reader import Reader
from spectui.store.sessions import send_command
from spectui.store.writing.writer import SessionWriter
from tests.decoding.replicas.fakes import ROUNDS, Clock, FakeReplica, FakeRun, FakeTransport, Quiet
from tests.store.samples import claimed_writer, make_round, make_session, random_rounds
from tests.waiting import until

TASKS = ["code", "math", "code", "chat", "math"]


class Dispatched:
    """A session of five prompts with its dispatcher; `decode` runs it on two fake replicas."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.db = connect(path)
        self.id = make_session(self.db, TASKS)
        self.writer = SessionWriter(self.db, self.id)
        self.writer.claim()
        self.clock = Clock()
        monkeypatch.setattr(dispatch, "time", self.clock)
        self.transport = FakeTransport(2, self.clock)
        self.control = Quiet()
        self.config = RunConfig()
        self.reader = Reader(self.db)
        self.stages: list[str] = []

    def decode(self) -> Dispatcher:
        dispatcher = Dispatcher(
            self.writer, self.control, Limits(self.config), self.transport, FakeRun(self.writer), 2,
            lambda stage, *_: self.stages.append(stage),
        )  # fmt: skip
        try:
            dispatcher.decode()
        finally:
            dispatcher.close()
        return dispatcher

    @property
    def statuses(self) -> list[str]:
        return [g.status for g in self.reader.generations(self.id)]

    def assert_whole(self) -> None:
        """Every prompt has the rounds that a replica makes of it, each once, and all sums are right."""
        for generation in self.reader.generations(self.id):
            rounds = self.reader.rounds(generation.id)
            expected = random_rounds(ROUNDS, generation.position)
            assert [(r.number, r.accepted_length, r.node_count) for r in rounds] == [
                (r.number, r.accepted_length, len(r.nodes)) for r in expected
            ]
            assert (generation.status, generation.output) == ("finished", f"text {generation.position}")
        assert check(self.db) == []

    def events(self, kind: str) -> list[str]:
        return [event.text for event in self.reader.events(self.id) if event.kind == kind]

    def replicas(self) -> list[tuple[int, str, str | None]]:
        """Number, host and reason of leaving."""
        return [tuple(row) for row in self.db.execute("SELECT number, host, reason FROM replica ORDER BY id")]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Dispatched]:
    session = Dispatched(tmp_path / "runs.db", monkeypatch)
    yield session
    session.db.close()


def test_replicas_share_the_prompts_and_each_is_recorded_with_its_own(run: Dispatched) -> None:
    run.decode()
    run.assert_whole()
    owners = [row for (row,) in run.db.execute("SELECT replica_id FROM generation ORDER BY position")]
    assert set(owners) == {1, 2}
    assert run.replicas() == [(1, "host-1", "the run ended"), (2, "host-2", "the run ended")]
    assert run.db.execute("SELECT count(*), count(DISTINCT replica_id) FROM baseline").fetchone() == (2, 2)
    assert run.db.execute("SELECT count(*) FROM token").fetchone() == (3,)


@pytest.mark.parametrize("dies_at", ["facts", "load", "start", "take", "finish"])
def test_the_prompt_of_a_dead_replica_begins_again_and_another_takes_its_place(
    run: Dispatched, dies_at: str
) -> None:
    deaths = iter(["killed"])

    def fault(replica: FakeReplica, method: str) -> str:
        late = dies_at != "take" or replica.taken == 1  # when it has reported some rounds
        return next(deaths, "") if replica.number == 1 and method == dies_at and late else ""

    run.transport.fault = fault
    run.decode()
    run.assert_whole()
    assert len(run.transport.replicas) == (2 if dies_at == "finish" else 3)


def test_a_replica_that_hangs_is_lost_and_what_it_says_later_is_dropped(run: Dispatched) -> None:
    def freeze() -> None:
        first = run.transport.replicas[0]
        if first.taken == 1 and not first.frozen:
            first.frozen, first.hung = True, list(first.to_come)  # type: ignore[attr-defined]
        if len(run.transport.replicas) == 3 and not run.transport.replicas[2].taken:
            # Awake again: it goes on where it was.
            run.transport.stray = [Answer(first, "take", Batch(first.attempt, tuple(first.hung), True))]  # type: ignore[attr-defined]

    run.transport.each_turn = freeze
    begun = run.clock.now
    run.decode()
    run.assert_whole()
    assert run.events("replica-lost") == [f"replica 1 on host-1: no sign of life for {SILENCE:.0f} s"]
    assert run.clock.now - begun < 2 * SILENCE


def test_an_answer_to_an_earlier_attempt_on_the_same_replica_is_dropped(run: Dispatched) -> None:
    replayed: list[Answer] = []

    def replay() -> None:
        first = run.transport.replicas[0]
        if len(first.before) == 2 and first.to_come and not replayed:  # the second prompt is at work
            attempt, operations = first.before[0]
            replayed.append(Answer(first, "take", Batch(attempt, operations, True)))
            run.transport.stray = replayed[:]

    run.transport.each_turn = replay
    run.decode()
    assert replayed
    run.assert_whole()


def test_when_the_dispatcher_stood_still_no_replica_is_lost(run: Dispatched) -> None:
    slept: list[float] = []

    def sleep() -> None:
        asleep = any(replica.taken == 2 for replica in run.transport.replicas) and not slept
        if asleep:
            slept.append(run.clock.now)
            run.clock.now += 5000
        for replica in run.transport.replicas:  # no answer is there yet when it wakes
            replica.frozen = asleep

    run.transport.each_turn = sleep
    run.decode()
    assert slept
    run.assert_whole()
    assert run.events("replica-lost") == []


def test_replicas_that_are_not_alike_decode_nothing(run: Dispatched) -> None:
    def older(replica: FakeReplica) -> None:
        if replica.number == 2:
            replica.facts = replace(replica.facts, basis=Basis({"torch": "1"}, "", {"target": {"a": "2"}}))

    run.transport.started = older
    with pytest.raises(
        DecodingError, match=r"replica 2 on host-2 is not like replica 1 on host-1: torch .*'s a"
    ):
        run.decode()
    assert run.statuses == ["pending"] * 5


def test_a_replica_that_is_not_alike_and_comes_later_is_left_out(run: Dispatched) -> None:
    def older(replica: FakeReplica) -> None:
        if replica.number > 2:
            replica.facts = replace(replica.facts, basis=Basis({"torch": "1"}, "", {"target": {"a": "1"}}))

    run.transport.started = older
    run.transport.fault = lambda replica, method: (
        "killed" if replica.number == 1 and replica.taken == 2 else ""
    )
    run.decode()
    run.assert_whole()
    assert any("is not like replica" in text for text in run.events("replica-lost"))


def test_a_prompt_that_ends_every_replica_fails_and_the_others_do_not(run: Dispatched) -> None:
    def fault(replica: FakeReplica, method: str) -> str:
        at_first = bool(replica.to_come) and replica.to_come[-1].options.get("output") == "text 0"
        return "killed" if method == "take" and at_first else ""

    run.transport.fault = fault
    run.decode()
    assert run.statuses == ["failed", *["finished"] * 4]
    error = run.reader.generations(run.id)[0].error or ""
    assert error.startswith(f"{ATTEMPTS} replicas were lost while they decoded it")
    assert check(run.db) == []


def test_without_replicas_the_run_ends_and_can_be_resumed(run: Dispatched) -> None:
    run.transport.fault = lambda replica, method: "killed" if method == "take" and replica.taken else ""
    with pytest.raises(DecodingError, match=r"no replica is left.*resume|prompt"):
        run.decode()
    run.transport = FakeTransport(2, run.clock)
    run.writer.restart_unfinished()
    # Prompts that had failed stay so; here none had had all its attempts.
    run.decode()
    assert "pending" not in run.statuses
    assert check(run.db) == []


def test_when_the_engine_is_gone_the_run_ends_at_once(run: Dispatched) -> None:
    def break_down() -> None:
        if any(replica.taken == 2 for replica in run.transport.replicas):
            run.transport.gone = "the engine has ended"
            for replica in run.transport.replicas:
                replica.frozen = True

    run.transport.each_turn = break_down
    begun = run.clock.now
    with pytest.raises(DecodingError, match="the engine has ended; nothing is lost"):
        run.decode()
    assert run.clock.now - begun < 5
    run.transport = FakeTransport(2, run.clock)
    run.writer.restart_unfinished()
    run.decode()
    run.assert_whole()


def send(run: Dispatched, *commands: tuple[str, int]) -> None:
    """Send each command when a replica has reported so many batches."""
    waiting = list(commands)

    def look() -> None:
        if waiting and sum(replica.taken for replica in run.transport.replicas) >= waiting[0][1]:
            send_command(run.db, run.id, waiting.pop(0)[0])

    run.transport.each_turn = look


def test_a_stop_ends_all_prompts_where_they_are_and_a_resume_does_them_anew(run: Dispatched) -> None:
    send(run, ("stop", 3))
    with pytest.raises(Stopped):
        run.decode()
    assert run.statuses == ["skipped", "skipped", "pending", "pending", "pending"]
    assert [g.finish_reason for g in run.reader.generations(run.id)][:2] == ["stopped"] * 2
    run.control = Quiet()
    run.transport = FakeTransport(2, run.clock)
    assert run.writer.restart_unfinished() == 2
    run.decode()
    run.assert_whole()


def test_a_skip_ends_the_prompt_that_has_been_at_work_for_longest(run: Dispatched) -> None:
    send(run, ("skip", 3))
    run.decode()
    assert run.statuses == ["skipped", *["finished"] * 4]
    assert check(run.db) == []


def test_a_pause_holds_all_replicas_until_it_is_over(run: Dispatched) -> None:
    send(run, ("pause", 3))
    look = run.transport.each_turn
    seen: list[tuple[str, int]] = []

    def pause_and_look() -> None:
        look()
        row = run.reader.session(run.id)
        if row.recorded_status == "paused":
            seen.append((row.status, row.rounds))
            if len(seen) == 5:
                send_command(run.db, run.id, "resume")

    run.transport.each_turn = pause_and_look
    run.decode()
    run.assert_whole()
    assert len({rounds for _, rounds in seen[2:]}) == 1
    assert [replica.told for replica in run.transport.replicas] == [["pause", "resume"]] * 2


def test_limits_are_those_of_all_replicas_together(run: Dispatched) -> None:
    run.config = RunConfig(max_nodes=14 * 8)
    with pytest.raises(LimitReached):
        run.decode()
    nodes = run.reader.session(run.id).nodes
    assert 14 * 8 <= nodes <= 14 * 12
    assert check(run.db) == []


def test_a_bad_round_fails_its_prompt_alone(run: Dispatched) -> None:
    def rounds(generation: object) -> list[object]:
        position = generation.position  # type: ignore[attr-defined]
        good = random_rounds(ROUNDS, position)
        return (
            [*good[:3], replace(make_round(4), accepted_length=9), *good[4:]] if position == 1 else list(good)
        )

    run.transport.rounds = rounds
    run.decode()
    assert run.statuses == ["finished", "failed", "finished", "finished", "finished"]
    assert check(run.db) == []


def test_a_replica_may_not_call_the_writer_as_it_likes(run: Dispatched) -> None:
    from spectui.decoding.replicas.messages import Operation

    def babble() -> None:
        first = run.transport.replicas[0]
        if first.taken == 1:
            first.to_come.appendleft(Operation("set_status", ("finished",), {}))

    run.transport.each_turn = babble
    with pytest.raises(DecodingError, match="'set_status', which no replica may"):
        run.decode()


def test_what_the_dispatcher_itself_computes_is_part_of_the_usage(tmp_path: Path) -> None:
    """psutil tells a share of a core since it was last asked by the same object; the first answer is always 0."""
    with closing(connect(tmp_path / "runs.db")) as db:
        writer = claimed_writer(db, ["code"])
        before = Reader(db).session(1)
        control, none = Control(signals=False), lambda *_: None
        run = ReplicaRun(writer, control, none, before, {}, replicas="1", address="", force=False)
        run._usage()
        until(lambda: bool(sum(range(10_000))) and (run._usage()[0] or 0.0) > 0.0)
