"""Protects: plain decoding is measured again during a run, in a small share of its time, and all of it is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from decoding.baseline import SHARE, Baselines
from decoding.energy import decoding_now
from store.baselines import baselines
from store.database import connect
from store.reader import Reader
from store.writer import SessionWriter
from tests.store.samples import record_all
from tui.speedups import range_words, short_range


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


def test_the_session_says_the_median_and_the_range_of_all_measurements(tmp_path: Path) -> None:
    path = tmp_path / "spectui.db"
    db = connect(path)
    session = record_all(db, ["code"], 5)
    writer = SessionWriter(db, session)
    reader = Reader(path)
    assert reader.session(session).speedup is None
    writer.add_baseline(40.0, 6)
    summary = reader.session(session)
    assert (summary.baseline_ms, summary.baseline_count, summary.speedup_range) == (40.0, 1, None)
    assert range_words(summary) == "measured once"
    assert short_range(summary) == "once"
    for each in (20.0, 60.0, 30.0, 50.0):
        writer.add_baseline(each, 6)
    summary = reader.session(session)
    assert (summary.baseline_ms, summary.baseline_count) == (40.0, 5)
    found = summary.speedup_range
    assert found is not None
    assert summary.speedup is not None
    assert found == pytest.approx((summary.speedup * 24 / 40, summary.speedup * 56 / 40))
    assert range_words(summary) == f"{found[0]:.2f} to {found[1]:.2f}, measured 5 times"
    assert [each.ms_per_token for each in baselines(reader, session)] == [40.0, 20.0, 60.0, 30.0, 50.0]
    reader.close()
