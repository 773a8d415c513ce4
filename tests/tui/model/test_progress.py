"""Speed, time left and time passed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from spectui.store.reading.reader import Reader
from spectui.tui.model.progress import Pace, ago, elapsed_seconds, eta_seconds
from tests.tui.replay import Recording


def test_pace_is_that_of_the_last_seconds_of_decoding() -> None:
    pace = Pace()
    assert pace.add(0, 0.0) is None
    assert pace.add(100, 5_000.0) == pytest.approx(20)
    for tenth in range(1, 200):
        rate = pace.add(100 + tenth * 5, 5_000.0 + tenth * 100)
    assert rate == pytest.approx(50, rel=0.01)


def test_a_pause_does_not_slow_the_pace() -> None:
    pace = Pace()
    pace.add(0, 0.0)
    before = pace.add(100, 5_000.0)
    assert pace.add(100, 5_000.0) == before


def test_one_slow_round_seen_first_is_no_pace() -> None:
    pace = Pace()
    pace.add(1000, 20_000.0)
    assert pace.add(1002, 20_600.0) == pytest.approx(1002 / 20.6)
    assert pace.add(1042, 21_000.0) == pytest.approx(42)


def test_a_run_that_begins_anew_begins_a_new_pace() -> None:
    pace = Pace()
    pace.add(1000, 50_000.0)
    assert pace.add(10, 1_000.0) == pytest.approx(10)


def test_time_left_is_what_the_finished_prompts_say(database: Path, running: Recording) -> None:
    with Reader(database) as reader:
        generations = reader.generations(running.id)
    each = sum(g.total_ms for g in generations[:2]) / 2
    expected = (max(each - generations[2].total_ms, 0) + 5 * each) / 1000
    assert eta_seconds(generations) == pytest.approx(expected)
    assert eta_seconds(generations[2:]) is None
    assert eta_seconds(generations[:2]) is None


def test_prompts_that_are_decoded_at_a_time_end_sooner(running: Recording, database: Path) -> None:
    with Reader(database) as reader:
        one = replace(reader.generations(running.id)[0], draft_ms=0.0, verify_ms=0.0, other_ms=0.0)
    done, begun = (
        replace(one, status="finished", other_ms=8000.0),
        replace(one, status="running", other_ms=2000.0),
    )
    pending = replace(one, status="pending")
    assert eta_seconds([done, begun, pending, pending]) == pytest.approx(22)
    assert eta_seconds([done, begun, begun, pending, pending]) == pytest.approx(14)
    assert eta_seconds([done, begun, replace(begun, other_ms=8000.0)]) == pytest.approx(6)


def test_time_passed_ends_with_the_run(database: Path, finished: Recording, running: Recording) -> None:
    with Reader(database) as reader:
        over, live = reader.session(finished.id), reader.session(running.id)
    assert elapsed_seconds(over) == 150
    assert elapsed_seconds(live) == 192  # until the tests' fixed now
    assert elapsed_seconds(replace(over, started_at=None)) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("2026-03-01T10:03:00+00:00", "just now"),
        ("2026-03-01T09:59:00+00:00", "4 min ago"),
        ("2026-03-01T03:00:00+00:00", "7 h ago"),
        ("2026-02-11T14:05:00+00:00", "Feb 11 14:05"),
        ("2024-02-11T14:05:00+00:00", "2024-02-11"),
        (None, ""),
        ("yesterday", ""),
    ],
)
def test_ago(text: str | None, words: str) -> None:
    assert ago(text) == words
