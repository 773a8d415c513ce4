"""Measured costs between runs: found again for the same machine only, and never half written."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

import pytest

from spectui.decoding.trees import costs
from spectui.decoding.trees.costs import Costs, Machine, Timing
from spectui.decoding.worker.measure_costs import (
    QUICK_ROWS,
    QUICK_STEPS,
    ROWS,
    STEPS,
    refine_steps,
    remove_drift,
)
from spectui.store.files import private_folder

MACHINE = Machine("tiny (01)", "recycling", "some cpu", "float32", 2, "2.13.0")
RECORD = Costs(
    MACHINE,
    {1: Timing.of([3.0, 1.0, 2.0]), 8: Timing.of([4.0])},
    {1: Timing.of([0.1]), 3: Timing.of([0.2])},
    Timing.of([1.0, 2.0]),
    150,
    "2026-11-23T06:40:00+00:00",
)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPECTUI_CACHE", str(tmp_path / "cache"))


def test_a_record_comes_back_as_it_was() -> None:
    assert costs.load(MACHINE) is None
    costs.save(RECORD)
    assert costs.load(MACHINE) == RECORD
    assert costs.load_all() == [RECORD]


@pytest.mark.parametrize(
    "other",
    [
        {"target": "tiny (02)"},
        {"drafter": "lookup"},
        {"threads": 1},
        {"torch": "2.14.0"},
        {"dtype": "float16"},
    ],
)
def test_another_machine_is_measured_itself(other: dict[str, str | int]) -> None:
    costs.save(RECORD)
    assert costs.load(replace(MACHINE, **other)) is None  # type: ignore[arg-type]


def test_a_newer_record_takes_the_place_of_the_older() -> None:
    costs.save(RECORD)
    newer = replace(RECORD, measured_at="2026-11-24T00:00:00+00:00")
    costs.save(newer)
    assert costs.load_all() == [newer]


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"version": 2}', b'{"version": 999}'])
def test_what_cannot_be_read_is_measured_again(damage: bytes) -> None:
    costs.save(RECORD)
    (file,) = costs.folder().glob("*.json")
    file.write_bytes(damage)
    assert costs.load(MACHINE) is None
    assert costs.load_all() == []
    costs.save(RECORD)
    assert costs.load(MACHINE) == RECORD


def test_a_write_that_fails_leaves_the_old_record_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    costs.save(RECORD)

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("spectui.decoding.trees.costs.to_json", fail)
        with pytest.raises(OSError, match="No space"):
            costs.save(replace(RECORD, measured_at="later"))
    assert costs.load(MACHINE) == RECORD
    assert len(list(costs.folder().iterdir())) == 1


def test_a_busy_machine_is_told_by_its_quartiles() -> None:
    calm = Timing(10.0, 9.5, 10.5, 9)
    wild = Timing(10.0, 7.0, 16.0, 9)
    assert replace(RECORD, verify={1: calm, 8: calm, 16: wild}).steady
    assert not replace(RECORD, verify={1: wild, 8: calm, 16: wild}).steady


def test_quartiles_and_median() -> None:
    timing = Timing.of([1.0, 2.0, 3.0, 4.0, 100.0])
    assert (timing.median, timing.low, timing.high, timing.count) == (3.0, 2.0, 4.0, 5)
    with pytest.raises(ValueError, match="nothing"):
        Timing.of([])


def test_folders_of_ours_are_closed_to_others(tmp_path: Path) -> None:
    folder = private_folder(tmp_path / "a" / "b")
    assert [f.stat().st_mode & 0o777 for f in (folder, folder.parent)] == [0o700, 0o700]
    folder.chmod(0o755)
    assert private_folder(folder).stat().st_mode & 0o777 == 0o755


def test_medians_that_fall_share_their_mean() -> None:
    """One outlier among few rows does not lift all that have more."""
    verify = {n: Timing(ms, ms, ms, 1) for n, ms in ((1, 10.0), (2, 16.0), (4, 12.0), (8, 17.0))}
    record = Costs(Machine("t", "d", "x", "f", 1, "0"), verify, {}, Timing(1, 1, 1, 1), 0, "")
    assert [record.verify_ms(rows) for rows in (1, 2, 4, 6, 8, 10)] == pytest.approx(
        [10.0, 14.0, 14.0, 15.5, 17.0, 18.5]
    )


def test_no_forward_takes_less_than_nothing() -> None:
    """A session's own few rounds on a busy machine: a line through them would take small trees below zero."""
    noisy = {
        1: Timing(9.98, 4.99, 14.96, 1), 6: Timing(3.17, 2.92, 9.74, 11), 9: Timing(3.38, 3.01, 5.37, 15),
        10: Timing(7.15, 2.91, 11.35, 218),
    }  # fmt: skip
    known = Costs(MACHINE, noisy, {1: Timing(1.77, 0.92, 2.71, 249)}, Timing(0.79, 0.68, 5.37, 249), 0, "")
    assert all(known.verify_ms(rows) >= 3.17 / 2 for rows in range(1, 11))


def test_bumps_within_the_noise_go_and_steps_of_a_quiet_machine_stay() -> None:
    """A size whose median happened to be low must not look better than all others."""
    at = {4: 50.0, 6: 50.0, 8: 60.0, 12: 70.0}

    def curve(spread: float) -> list[float]:
        verify = {n: Timing(ms, ms - spread, ms + spread, 9) for n, ms in at.items()}
        costs = Costs(Machine("t", "d", "x", "f", 1, "0"), verify, {}, Timing(1, 1, 1, 1), 0, "")
        return [costs.verify_ms(n) for n in at]

    assert curve(0.1) == pytest.approx(list(at.values()), rel=2e-3)
    four, six, eight, twelve = curve(5.0)
    assert 52.0 < six < 55.0
    assert six - four > 0.3 * (eight - four)
    assert twelve == pytest.approx(70.0, rel=0.03)


def _stepped(steps: Collection[int]) -> Callable[[int], float]:
    """Milliseconds by rows: one of `steps` is 10 ms dearer than a row less, any other row half a millisecond."""
    return lambda rows: 30.0 + 0.5 * rows + 10.0 * sum(rows >= step for step in steps)


@pytest.mark.parametrize(
    ("rows", "more", "steps"),
    [(QUICK_ROWS, QUICK_STEPS, [step]) for step in range(9, 25)]
    + [(ROWS, STEPS, [low, low + 14]) for low in range(5, 19)],
)
def test_both_sides_of_a_step_are_measured(rows: tuple[int, ...], more: int, steps: list[int]) -> None:
    """A line across the step would make the tree that just fits look dear and the next larger one cheap."""
    sizes = refine_steps(rows, more, 1, _stepped(steps))
    assert {step - 1 for step in steps} | set(steps) <= set(sizes)
    assert set(rows) <= set(sizes)
    assert sizes == sorted(sizes)
    assert len(sizes) <= len(rows) + more


@pytest.mark.parametrize("slow", range(1, 60, 3))
def test_a_machine_that_becomes_slower_hides_no_step(slow: int) -> None:
    """Other programs, from the `slow`-th forward on, make no size look larger than its neighbours."""
    calls = itertools.count()
    sizes = refine_steps(
        QUICK_ROWS, QUICK_STEPS, 2, lambda rows: _stepped([15])(rows) * (1.4 if next(calls) >= slow else 1.0)
    )
    assert {14, 15} <= set(sizes)


def test_where_rows_cost_nothing_no_step_is_looked_for() -> None:
    assert refine_steps((24, 1, 8), 5, 1, lambda rows: 30.0 + 0.01 * rows) == [1, 8, 24]
    assert refine_steps((1, 2, 3), 5, 1, _stepped([3])) == [1, 2, 3]


def test_beyond_what_was_measured_a_step_is_not_drawn_on() -> None:
    """Two neighbours on either side of a step say nothing of how the curve goes on."""
    ms = _stepped([32])
    verify = {n: Timing(ms(n), ms(n), ms(n), 9) for n in (1, 16, 31, 32)}
    record = replace(RECORD, verify=verify)
    assert record.verify_ms(48) == pytest.approx(ms(32) + 16 * (ms(32) - ms(16)) / 16)


def test_records_of_older_versions_are_not_listed() -> None:
    """They are measured again, and a doctor would show both."""
    costs.save(RECORD)
    (file,) = costs.folder().glob("*.json")
    old = json.loads(file.read_bytes()) | {"version": 5, "measured_at": "2026-11-25T00:00:00+00:00"}
    file.with_name("0123456789abcdef.json").write_text(json.dumps(old))
    assert costs.load_all() == [RECORD]


def test_costs_kept_with_older_sessions_are_still_read() -> None:
    """Version 5 knew no `other_node`: what it measured were rounds with nodes, so they are in `other`."""
    data = json.loads(costs.to_json(RECORD))
    del data["other_node"]
    assert costs.from_dict(data | {"version": 5}) == RECORD
    assert costs.from_dict(data | {"version": 4}) is None


def test_levels_before_version_7_were_all_alike() -> None:
    """Sessions recorded then keep what a level took."""
    data = json.loads(costs.to_json(RECORD))
    level = data.pop("draft")["1"]
    record = costs.from_dict(data | {"version": 6, "draft_level": level})
    assert record is not None
    assert [record.draft_ms(levels) for levels in (0, 1, 4)] == pytest.approx([0.0, 0.1, 0.4])


def test_the_first_level_may_take_more_than_those_that_follow() -> None:
    """Shallow trees would look cheap, and deep ones dear."""
    record = replace(RECORD, draft={n: Timing(ms, ms, ms, 8) for n, ms in ((1, 4.0), (3, 9.0), (6, 15.0))})
    assert [record.draft_ms(levels) for levels in (0, 1, 2, 3, 4, 6, 8)] == pytest.approx(
        [0.0, 4.0, 6.5, 9.0, 11.0, 15.0, 19.0]
    )
    assert replace(RECORD, draft={}).draft_ms(5) == 0.0


def test_more_levels_never_take_less() -> None:
    """A fall is noise; continued, it would make the deepest trees free."""
    record = replace(RECORD, draft={n: Timing(ms, ms, ms, 8) for n, ms in ((1, 4.0), (3, 9.0), (6, 8.0))})
    assert [record.draft_ms(levels) for levels in (3, 6, 12)] == pytest.approx([9.0, 9.0, 9.0])


def test_a_step_between_neighbours_outlasts_the_noise_of_a_shared_machine() -> None:
    """A prior of smooth curves must not draw the two together."""
    at = {1: 32.0, 4: 43.0, 8: 49.0, 12: 53.0, 14: 54.5, 15: 65.0, 16: 67.0, 24: 77.0, 32: 95.0}
    record = replace(RECORD, verify={n: Timing(ms, 0.97 * ms, 1.03 * ms, 13) for n, ms in at.items()})
    assert record.verify_ms(15) / record.verify_ms(14) == pytest.approx(65.0 / 54.5, rel=0.03)


def test_a_slow_pass_does_not_bend_the_curve() -> None:
    steady = {1: [10.0, 10.0, 10.0], 8: [20.0, 20.0, 20.0]}
    drifting = {
        n: [ms * slow for ms, slow in zip(each, (1.0, 1.0, 3.0), strict=True)] for n, each in steady.items()
    }
    for n, each in remove_drift(drifting).items():
        assert each == pytest.approx(steady[n])
