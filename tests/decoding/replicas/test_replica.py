"""Protects: a replica decodes a prompt as if it were the first, obeys at once, and its energy is counted once."""

from __future__ import annotations

from typing import Any

import pytest

from spectui.decoding.config import RunConfig
from spectui.decoding.models.fingerprint import Basis
from spectui.decoding.replicas.members import Member
from spectui.decoding.replicas.messages import Facts, Loaded, Operation, Pulse
from spectui.decoding.replicas.outbox import MOST, Outbox
from spectui.decoding.replicas.replica import Replica, answered
from spectui.decoding.replicas.session import energy_of
from spectui.store.device_class import DeviceClass
from spectui.store.records import RoundRecord
from spectui.store.writing.writer import PendingGeneration
from tests.models import tiny_llama

FIRST = PendingGeneration(1, "code", "Write a function that merges lists.", 0, "code-0")
SECOND = PendingGeneration(2, "chat", "What would you cook for a friend?", 1, "chat-0")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("replica") / "tiny"
    tiny_llama(folder)
    return RunConfig(target=str(folder), draft="recycling", tree="recycling:8", max_new_tokens=20).to_json()


def decoded(replica: Replica, generation: PendingGeneration, attempt: int = 1) -> list[Operation]:
    """Everything that comes of a prompt."""
    replica.start(generation, attempt)
    operations: list[Operation] = []
    while True:
        batch = replica.take(5.0)
        assert batch.attempt == attempt
        operations += batch.operations
        if batch.ended:
            assert batch.error == ""
            return operations


def nodes(operations: list[Operation]) -> list[Any]:
    rounds = [op.arguments[1] for op in operations if op.method == "record_round"]
    assert all(isinstance(each, RoundRecord) for each in rounds)
    return [(each.number, each.accepted_length, each.nodes) for each in rounds]


def test_a_prompt_comes_out_the_same_whatever_the_replica_decoded_before(
    config: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPECTUI_MEASURE", "0")
    alone, after = Replica(), Replica()
    assert alone.load(config, False).forgets
    after.load(config, False)
    expected = nodes(decoded(alone, SECOND))
    assert nodes(decoded(after, FIRST)) != expected
    assert nodes(decoded(after, SECOND, 2)) == expected
    ended = decoded(after, FIRST, 3)[-1]
    assert ended.method == "finish_generation"
    assert ended.arguments == (1, "finished")


def test_a_skip_ends_a_prompt_and_the_next_is_not_skipped(config: str) -> None:
    replica = Replica()
    replica.load(config, False)
    replica.start(FIRST, 1)
    replica.tell("skip")
    operations: list[Operation] = []
    while not (batch := replica.take(5.0)).ended:
        operations += batch.operations
    operations += batch.operations
    assert operations[-1].options["finish_reason"] in ("skipped", "length", "eos")
    assert decoded(replica, SECOND, 2)[-1].arguments == (2, "finished")


def test_before_it_has_models_it_says_so() -> None:
    replica = Replica()
    assert answered(replica, "start", (FIRST, 1)) == (None, "the replica has no models yet")
    assert answered(replica, "pulse", ())[0].stage == "starting Python"


def test_a_dispatcher_that_fetches_nothing_makes_the_decoding_wait() -> None:
    import threading

    told: list[float | None] = []
    outbox = Outbox(told.append)
    outbox.begin(1)

    def fill() -> None:
        for _ in range(MOST + 1):
            outbox.restart_generation(1)

    filler = threading.Thread(target=fill, daemon=True)
    filler.start()
    filler.join(0.2)
    assert filler.is_alive()
    fetched = len(outbox.fetch(1.0).operations)
    filler.join(5.0)
    assert not filler.is_alive()
    assert fetched + len(outbox.fetch(1.0).operations) == MOST + 1


def member(
    number: int, host: str, device: str, energy: tuple[float, float] | None, name: str = "H200"
) -> Member:
    class Nothing:
        def ask(self, method: str, *arguments: Any) -> None:
            """Nobody is asked."""

        def cut(self) -> None:
            """Nobody is there."""

    basis = Basis({}, device, {})
    made = Member(Nothing(), 0.0, number=number, facts=Facts(host, number, basis))
    made.loaded = Loaded(basis, "{}", DeviceClass(name, "bfloat16"), "d", "t", 3, None, (), False)
    made.pulse = Pulse("decoding", None, None, "", None, None, None, energy)
    return made


def test_energy_is_added_up_within_a_class_and_once_for_each_counter() -> None:
    # A session's decoding time is the sum of its replicas', so that their seconds add up as their joules do: the mean
    # power over all of that time is again what was used.
    gpus = [member(1, "a", "cuda:0", (100.0, 2.0)), member(2, "a", "cuda:0", (50.0, 2.0))]
    assert energy_of(gpus) == (150.0, 4.0)
    # A CPU's counters are the machine's: its first replica stands for all of them.
    cpus = [
        member(1, "a", "cpu", (100.0, 2.0)),
        member(2, "a", "cpu", (90.0, 2.0)),
        member(3, "b", "cpu", (7.0, 1.0)),
    ]
    assert energy_of(cpus) == (107.0, 5.0)
    others = cpus[1].columns(None, metered=False)
    assert (others["energy_joules"], others["energy_seconds"]) == (0.0, 2.0)
    assert energy_of([*gpus, member(3, "b", "cuda:0", (7.0, 1.0), "A100")]) is None
    assert energy_of([*gpus, member(3, "b", "cuda:0", None)]) is None
    assert energy_of([]) is None
