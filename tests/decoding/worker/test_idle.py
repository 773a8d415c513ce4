"""Protects: time in which the process stood still, a disk was full or the run paused is no decoding time."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from spectui.decoding.config import RunConfig
from spectui.decoding.machine.energy import decoding_now
from spectui.decoding.rounds import Round
from spectui.decoding.trees.shape import TokenTree
from spectui.decoding.worker.control import Limits
from spectui.decoding.worker.idle import BEAT_SECONDS, STILL_SECONDS, IdleTime
from tests.decoding.worker.workers import Worked, make_model
from tests.waiting import until


class Clocks:
    """A machine whose clocks go as they are set; an `IdleTime` that reads them."""

    def __init__(self) -> None:
        self.now = self.slept = self.computed = 1000.0
        self.idle = IdleTime(lambda: self.now, lambda: self.slept, lambda: self.computed)

    def run(self, seconds: float, computed: float = 1.0) -> None:
        """Run for so long, the thread waking as it asked to and the main thread computing that share."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(self.now + BEAT_SECONDS, end)
            self.computed += computed * BEAT_SECONDS
            self.idle.look()

    def stop(self, seconds: float) -> None:
        """Stand still, and notice."""
        self.now += seconds
        self.idle.look()


def round_of(draft: float, verify: float, other: float) -> Round:
    nothing = np.zeros(0)
    return Round(
        1, 5, TokenTree.empty(), (), 3, None, None, nothing, nothing, nothing.astype(bool), draft, verify, other
    )  # fmt: skip


def ms(round_: Round) -> float:
    return round_.draft_ms + round_.verify_ms + round_.other_ms


@pytest.mark.parametrize("computed", [0.0, 1.0], ids=["it waits for a GPU", "it computes"])
def test_a_stop_is_taken_out_of_the_round_it_fell_into(computed: float) -> None:
    clocks = Clocks()
    clocks.run(5.0, computed)
    assert ms(clocks.idle.without_standstills(round_of(10.0, 20.0, 5.0))) == 35.0
    clocks.now += 0.1  # between two looks
    clocks.computed += 0.1 * computed
    clocks.stop(30.0)
    round_ = clocks.idle.without_standstills(round_of(10.0, 30_090.0, 5.0))
    assert ms(round_) == pytest.approx(105.0 if computed else 5.0, abs=1e-6)
    assert clocks.idle.without_standstills(round_of(10.0, 20.0, 5.0)).draft_ms == 10.0
    (standstill,) = clocks.idle.take_standstills()
    assert standstill.text == "the process stood still for 30 s"
    assert clocks.idle.seconds == pytest.approx(30.0, abs=0.2)
    assert clocks.idle.take_standstills() == []


def test_a_round_that_notices_before_the_watch_does_counts_the_stop_once() -> None:
    clocks = Clocks()
    clocks.now += 10.0  # stopped; the main thread is the first to run again
    assert ms(clocks.idle.without_standstills(round_of(0.0, 10_000.0, 0.0))) == pytest.approx(0.0, abs=1e-6)
    clocks.idle.look()
    assert len(clocks.idle.take_standstills()) == 1
    assert clocks.idle.seconds == 10.0


@pytest.mark.parametrize("late", [0.0, 0.5, STILL_SECONDS - 0.1])
def test_a_busy_machine_stands_not_still(late: float) -> None:
    clocks = Clocks()
    for _ in range(50):
        clocks.stop(late)
        clocks.run(0.3, 0.1)
    assert clocks.idle.take_standstills() == []
    assert ms(clocks.idle.without_standstills(round_of(100.0, 5000.0, 5.0))) == 5105.0


def test_a_thread_that_holds_the_lock_of_python_is_no_standstill() -> None:
    clocks = Clocks()
    clocks.now += 8.0
    clocks.computed += 7.9
    clocks.idle.look()
    assert (clocks.idle.take_standstills(), clocks.idle.seconds) == ([], 0.0)


def test_a_machine_that_slept_is_said_though_no_clock_of_rounds_went_on() -> None:
    clocks = Clocks()
    clocks.slept += 3600.0
    clocks.run(0.4)
    (standstill,) = clocks.idle.take_standstills()
    assert standstill.text == "the machine slept for 3600 s"
    assert clocks.idle.seconds == 0.0


def test_a_device_that_hung_is_known_by_the_rounds_before() -> None:
    """The process runs all the while, and waits."""
    clocks = Clocks()
    for _ in range(6):
        clocks.run(0.1)
        clocks.idle.without_standstills(round_of(10.0, 80.0, 10.0))
    clocks.run(30.0)
    round_ = clocks.idle.without_standstills(round_of(10.0, 29_990.0, 0.0))
    assert ms(round_) == pytest.approx(100.0)
    assert [each.text for each in clocks.idle.take_standstills()] == [
        "the device or the machine hung for 30 s"
    ]
    # A model whose rounds are that long is no device that hangs.
    slow = Clocks()
    for _ in range(20):
        slow.run(30.0)
        assert ms(slow.idle.without_standstills(round_of(10.0, 29_990.0, 0.0))) == 30_000.0
    assert slow.idle.take_standstills() == []


def test_overlapping_reasons_count_once_and_limits_leave_them_out(monkeypatch: pytest.MonkeyPatch) -> None:
    clocks = Clocks()
    monkeypatch.setattr(decoding_now, "_flag", True)
    clocks.idle.hold("paused")
    assert not decoding_now.is_set(), "a paused run uses no energy for its tokens"
    clocks.run(10.0, 0.0)
    clocks.stop(20.0)
    clocks.idle.hold("writing", since=clocks.now - 5.0)
    clocks.run(10.0, 0.0)
    clocks.idle.release("paused")
    assert not decoding_now.is_set()
    clocks.run(2.0, 0.0)
    clocks.idle.release("writing")
    assert decoding_now.is_set()
    clocks.idle.release("writing")
    assert clocks.idle.seconds == pytest.approx(42.0)
    limits = Limits(RunConfig(max_seconds=0.05), idle_seconds=100.0)
    begun = time.perf_counter()
    assert limits.reached(100.0 + 3600.0) is None
    until(lambda: time.perf_counter() - begun > 0.06)
    assert limits.reached(100.0 + 0.0) == "--max-time 0.05s"
    assert limits.reached(100.0 + 3600.0) is None


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("idle") / "tiny"
    make_model(folder, endless=True)
    return folder


@pytest.fixture
def run(tmp_path: Path, model: Path) -> Iterator[Worked]:
    worked = Worked(tmp_path, model, max_new_tokens=3000, tree="chain:1")
    yield worked
    worked.close()


STOP_SECONDS = STILL_SECONDS + 0.1


def test_a_stopped_worker_counts_its_rounds_and_not_the_stop(run: Worked) -> None:
    texts = list[str]()
    most = list[float]()
    """Seconds from before each stop until after it was noticed: a busy machine lets the worker go on late."""

    def stand_still() -> None:
        """Stop the worker by a signal, as a suspend or a freezer does, until it has noticed."""
        noticed, begun = len(texts), time.monotonic()
        os.kill(run.pid, signal.SIGSTOP)
        until(lambda: time.monotonic() - begun >= STOP_SECONDS)
        os.kill(run.pid, signal.SIGCONT)

        def is_noticed() -> bool:
            texts[:] = [str(e.text) for e in run.reader.events(run.id) if e.kind == "standstill"]
            return len(texts) > noticed

        until(is_noticed, what=lambda: f"{texts} {run.log_text()}")
        most.append(time.monotonic() - begun)

    run.work()
    run.until_rounds(5)
    stand_still()
    run.send("pause")
    until(lambda: run.now().status == "paused")
    before = run.now()
    longest = max(row.total_ms for g in run.reader.generations(run.id) for row in run.reader.rounds(g.id))
    assert longest < 1000 * STILL_SECONDS
    assert before.total_ms == pytest.approx(
        sum(row.total_ms for g in run.reader.generations(run.id) for row in run.reader.rounds(g.id))
    )
    stand_still()
    run.send("stop")
    assert run.ended() == 0, run.log_text()
    places = [r"(in|before) round \d+ of prompt \d+", "while the run was paused"]
    for text, place, seconds in zip(texts, places, most, strict=True):
        told = re.fullmatch(rf"the process stood still for (\d+) s {place}", text)
        assert told, texts
        # It asks for the time a few times a second, also before the stop.
        assert round(STILL_SECONDS) <= int(told[1]) <= round(seconds + BEAT_SECONDS), (text, seconds)
    assert run.now().rounds >= before.rounds
    assert run.problems() == []
