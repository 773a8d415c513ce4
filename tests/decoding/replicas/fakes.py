"""A transport without processes: replicas that make up rounds, and die, hang or babble when they are told to."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from spectui.decoding.models.fingerprint import Basis
from spectui.decoding.replicas.dispatch import Dispatcher
from spectui.decoding.replicas.members import Member
from spectui.decoding.replicas.messages import Batch, Facts, Loaded, Operation, Pulse
from spectui.decoding.replicas.transport import QUICK, Answer, Link
from spectui.decoding.worker.control import Control
from spectui.store.device_class import DeviceClass
from spectui.store.writing.writer import PendingGeneration, SessionWriter
from tests.store.samples import random_rounds

ROUNDS = 6
"""Of every prompt."""
A_BATCH = 2
"""Rounds that are reported at a time."""


class Clock:
    """Time that passes while nothing else happens."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


class FakeReplica:
    """A replica and the link to it."""

    def __init__(self, transport: FakeTransport, number: int) -> None:
        self.transport, self.number = transport, number
        self.asked: deque[tuple[str, tuple[Any, ...]]] = deque()
        self.asked_quickly: deque[tuple[str, tuple[Any, ...]]] = deque()
        self.taken = 0
        """Batches handed over so far, of all prompts."""
        self.open, self.frozen, self.paused = True, False, False
        self.told: list[str] = []
        self.facts = Facts(
            f"host-{number}", 100 + number, Basis(dict(transport.versions), "", {"target": {"a": "1"}})
        )
        self.attempt = 0
        self.to_come: deque[Operation] = deque()
        self.before: list[tuple[int, tuple[Operation, ...]]] = []
        """Attempt and operations of every prompt so far."""

    def ask(self, method: str, *arguments: Any) -> None:
        if self.open:
            (self.asked_quickly if method in QUICK else self.asked).append((method, arguments))

    def cut(self) -> None:
        self.open = False

    def answers(self) -> list[Answer]:
        """Answers to everything that was asked."""
        if not self.open or self.frozen:
            return []
        out = [self._answer(*self.asked_quickly.popleft()) for _ in range(len(self.asked_quickly))]
        if self.asked and not (self.paused and self.asked[0][0] == "take"):
            out.append(self._answer(*self.asked.popleft()))
        return out

    def _answer(self, method: str, arguments: tuple[Any, ...]) -> Answer:
        fault = self.transport.fault(self, method)
        if fault:
            self.open = False
            return Answer(self, method, lost=fault)
        return Answer(self, method, getattr(self, f"_{method}")(*arguments))

    def _facts(self, config_json: str) -> Facts:
        return self.facts

    def _load(self, config_json: str, choose: bool) -> Loaded:
        basis = Basis(self.facts.basis.versions, "cpu", self.facts.basis.files)
        return Loaded(
            basis, config_json, DeviceClass("a CPU", "float32", 1), "toy", "tokens", 3, None, (), False
        )

    def _vocabulary(self) -> dict[int, bytes]:
        return {0: b"a", 1: b"b", 2: b"c"}

    def _start(self, generation: PendingGeneration, attempt: int) -> None:
        self.attempt = attempt
        rounds = [
            Operation("record_round", (generation.id, r), {}) for r in self.transport.rounds(generation)
        ]
        end = Operation(
            "finish_generation", (generation.id, "finished"), {"output": f"text {generation.position}"}
        )
        self.to_come = deque([Operation("start_generation", (generation.id, 10), {}), *rounds, end])
        self.before.append((attempt, tuple(self.to_come)))

    def _take(self, seconds: float) -> Batch:
        self.taken += 1
        if "stop" in self.told or "skip" in self.told:
            reason = "skipped" if "skip" in self.told else "stopped"
            self.told.clear()
            generation_id = self.to_come[-1].arguments[0]
            end = Operation("finish_generation", (generation_id, "skipped"), {"finish_reason": reason})
            return Batch(self.attempt, (end,), True)
        batch = [self.to_come.popleft() for _ in range(min(A_BATCH, len(self.to_come)))]
        return Batch(self.attempt, tuple(batch), not self.to_come)

    def _finish(self) -> Batch:
        return Batch(0, (Operation("add_baseline", (30.0, 1, 20.0), {}),), True)

    def _tell(self, command: str) -> None:
        self.told.append(command)
        if command in ("pause", "resume"):
            self.paused = command == "pause"

    def _pulse(self) -> Pulse:
        return Pulse("decoding", None, None, "", 50.0, 1000, None, None)


class FakeTransport:
    """See `Transport`. `fault` says why a replica dies when it is asked something, or ""."""

    name = "fake"

    def __init__(self, count: int, clock: Clock) -> None:
        self.devices: Sequence[str] = [""] * count
        self.clock = clock
        self.versions = {"torch": "2"}
        self.replicas: list[FakeReplica] = []
        self.fault: Callable[[FakeReplica, str], str] = lambda replica, method: ""
        self.rounds: Callable[[PendingGeneration], list[Any]] = lambda g: random_rounds(ROUNDS, g.position)
        self.each_turn: Callable[[], None] = lambda: None
        self.started: Callable[[FakeReplica], None] = lambda replica: None
        self.gone = ""
        self.stray: list[Answer] = []

    def start(self) -> Link:
        replica = FakeReplica(self, len(self.replicas) + 1)
        self.replicas.append(replica)
        self.started(replica)
        return replica

    def wait(self, seconds: float) -> list[Answer]:
        self.each_turn()
        answers = [*self.stray, *(answer for replica in self.replicas for answer in replica.answers())]
        self.stray.clear()
        self.clock.now += 0.001 if answers else max(seconds, 0.05)
        return answers

    def trouble(self) -> str:
        return self.gone

    def close(self) -> None:
        """Nothing to end."""


class FakeRun:
    """The run that replicas are for, see `Chosen`."""

    config_json = "{}"
    chooses_tree = False

    def __init__(self, writer: SessionWriter) -> None:
        self.writer = writer

    def begin(self, member: Member, loaded: Loaded) -> bool:
        return True

    def keep_after(self) -> None:
        """All nodes are kept."""

    def add_tokens(self, tokens: dict[int, bytes]) -> None:
        self.writer.add_tokens("tokens", tokens)


class Quiet(Control):
    """Signals are left alone; commands come through the database."""

    def __init__(self) -> None:
        super().__init__(signals=False)


__all__ = ["Clock", "Dispatcher", "FakeReplica", "FakeRun", "FakeTransport", "Quiet"]
