"""Protects: plain decoding is measured again during a run, in a small share of its time, and all of it is kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from spectui.decoding.machine.energy import decoding_now
from spectui.decoding.worker.baseline import SHARE, Baselines
from spectui.store.database import connect
from spectui.store.reading.reader import Reader
from spectui.store.writing.baselines import baselines
from spectui.store.writing.writer import SessionWriter
from spectui.tui.model.speedups import range_words
from tests.store.samples import make_session, random_rounds


class Time:
    """A clock that goes on when it is told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("cost", [0.05, 0.4, 6.0])
def test_measurements_take_a_small_share_of_a_run_and_stay_few(cost: float) -> None:
    clock = Time()
    taken: list[float] = []

    def measure(_: str) -> None:
        assert not decoding_now.is_set()  # its energy is not the tokens'
        taken.append(clock.now)
        clock.now += cost

    measured = Baselines(measure, clock)
    decoding_now.set()
    try:
        measured.take("a prompt")
        while clock.now < 7 * 24 * 3600:
            clock.now += max(clock.now / 400, 2.0)  # a prompt
            measured.take_if_due("a prompt")
            assert decoding_now.is_set()
            assert (len(taken) - 1) * cost <= (SHARE + 0.001) * clock.now
    finally:
        decoding_now.clear()
    assert len([at for at in taken if at < 3600]) > (3 if cost > 1 else 20)
    assert len(taken) < 600


def prompt(writer: SessionWriter, slow: float, rounds: int, seed: int) -> None:
    """The next prompt: a round takes 50 ms on an idle machine."""
    generation = writer.pending_generations()[0]
    writer.start_generation(generation.id, 10)
    for record in random_rounds(rounds, seed):
        writer.record_round(
            generation.id, replace(record, draft_ms=5 * slow, verify_ms=44 * slow, other_ms=slow)
        )
    writer.finish_generation(generation.id, "finished", output="done", finish_reason="eos")


def test_a_speed_up_is_of_measurements_and_the_rounds_beside_them(tmp_path: Path) -> None:
    """The machine is three times as slow while the long prompts are decoded, and plain decoding is measured then, too.

    What plain decoding took in the middle of all times says nothing of a session that was mostly slow.
    """
    path = tmp_path / "spectui.db"
    db = connect(path)
    session = make_session(db, ("code", "math") * 6)
    writer = SessionWriter(db, session)
    writer.claim()
    reader = Reader(path)
    writer.add_baseline(40.0, 6)
    first = reader.session(session)
    assert (first.baseline_ms, first.baseline_count, first.speedup_range) == (40.0, 1, None)
    noise = (1.02, 0.97, 1.0, 1.05, 0.96, 1.01, 0.99, 1.03, 0.98, 1.0, 1.02, 0.98)
    for number, off in enumerate(noise):
        slow = 3.0 if 4 <= number < 9 else 1.0
        writer.add_baseline(40.0 * slow * off, 6)
        prompt(writer, slow, 60 if slow > 1 else 12, number)
        writer.add_baseline(40.0 * slow, 6)
    writer.set_status("finished")
    summary = reader.session(session)
    assert summary.tokens_per_round is not None
    true = summary.tokens_per_round * 40 / 50
    assert summary.speedup == pytest.approx(true, rel=0.05)
    assert summary.speedup_range is not None
    low, high = summary.speedup_range
    assert low < true < high
    assert high < 1.4 * low
    measured = [each.ms_per_token for each in baselines(reader, session)]
    assert (len(measured), summary.baseline_count) == (25, 25)
    assert (
        summary.tokens * sorted(measured)[12] / summary.total_ms < 0.75 * true
    )  # what their median would say
    assert range_words(summary) == f"{low:.2f} to {high:.2f}, measured 25 times"
    reader.close()


def test_measurements_too_far_apart_tell_no_speed_up(tmp_path: Path) -> None:
    """Two, of which one says that plain decoding is twice as slow as the other."""
    path = tmp_path / "spectui.db"
    db = connect(path)
    session = make_session(db, ("code",) * 4)
    writer = SessionWriter(db, session)
    writer.claim()
    with Reader(path) as reader:
        for number, took in enumerate((40.0, 80.0, 40.0)):
            prompt(writer, 1.0, 12, number)
            writer.add_baseline(took, 6)
        summary = reader.session(session)
    assert (summary.speedup, summary.speedup_range) == (None, None)
    assert summary.drifted
