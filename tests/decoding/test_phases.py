"""Protects the timing of phases: they add up to the wall time, nest, and cost nothing where nobody measures."""

from __future__ import annotations

import pytest

from spectui.decoding.phases import DRAFT, LEVEL, PREFILL_DRAFT, PhaseTimer, phase


class Clock:
    """A clock that the test advances."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("spectui.decoding.phases.time.perf_counter", clock)
    return clock


def test_a_phase_within_another_stops_its_time(clock: Clock) -> None:
    synchronised: list[float] = []
    timer = PhaseTimer("rest", lambda: synchronised.append(clock.now))

    def outer() -> None:
        with phase("outer"):
            clock.now += 1.0
            with phase("inner"):
                clock.now += 2.0
            with phase("outer"):  # a step of it, no call of its own
                clock.now += 0.5
            clock.now += 1.0

    outer()  # no timer runs
    with timer.running():
        clock.now += 0.25
        outer()
        clock.now += 0.25
    outer()
    assert timer.seconds == {"rest": 0.5, "outer": 2.5, "inner": 2.0}
    assert timer.calls == {"outer": 1, "inner": 1}
    assert len(synchronised) == 8


def test_levels_are_numbered_within_a_proposal_and_belong_to_the_prefill_of_a_prompt(clock: Clock) -> None:
    timer = PhaseTimer("rest")
    with timer.running():
        with phase(PREFILL_DRAFT), phase(LEVEL):
            clock.now += 4.0
        for levels in (2, 1):
            with phase(DRAFT):
                for _ in range(levels):
                    with phase(LEVEL):
                        clock.now += 1.0
    assert timer.seconds == {
        "rest": 0.0,
        PREFILL_DRAFT: 4.0,
        DRAFT: 0.0,
        "draft level 1": 2.0,
        "draft level 2": 1.0,
    }
    assert timer.calls == {PREFILL_DRAFT: 1, DRAFT: 2, "draft level 1": 2, "draft level 2": 1}


def test_without_a_timer_a_phase_is_one_and_the_same_object() -> None:
    assert phase("a") is phase("b")
