"""Protects the comparison of a sweep: pairs by prompt, the machine's pace taken out, the front, what is unknown."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from spectui.store.counts.pace import pace_of
from spectui.store.database import connect
from spectui.store.device_class import DeviceClass
from spectui.store.errors import StoreError
from spectui.store.reading.columns import Floats
from spectui.store.reading.reader import Reader
from spectui.store.records import PromptRecord
from spectui.store.sessions import create_session
from spectui.store.sweeps.cells import Cell, begin_sweep, sweeps
from spectui.store.sweeps.compare import (
    Candidate,
    Contest,
    Key,
    Sums,
    SweepComparison,
    _against,
    compare_sweep,
)
from spectui.store.writing.writer import SessionWriter
from tests.store.samples import make_round

CELLS = [Cell(draft, tree, 0.0, "code") for draft in ("eagle", "lookup") for tree in ("chain:2", "chain:3")]
PROMPTS = 8
ROUNDS = 12


def record(
    path: Path,
    cell: Cell,
    *,
    accepted: int,
    round_ms: float,
    slow: float = 1.0,
    baselines: int = 8,
    prompts: Sequence[int] = range(PROMPTS),
    status: str = "finished",
    device: str = "AMD EPYC",
) -> None:
    """A session of a cell whose rounds accept so many tokens, on a machine that is so many times as slow as usual; a
    prompt's rounds take longer the later it stands."""
    with closing(connect(path)) as db:
        sweep_id = begin_sweep(db, "night", CELLS, {"seed": 0})
        session = create_session(
            db,
            config_json=json.dumps({"target": "tiny"}),
            target="tiny",
            drafter=cell.draft,
            tree=cell.tree,
            prompts=[PromptRecord(f"p{i}", cell.task, f"prompt {i}") for i in range(PROMPTS)],
            cell=(sweep_id, cell.to_json()),
        )
        writer = SessionWriter(db, session)
        writer.claim()
        total: list[float] = []
        writer.describe(machine_json=DeviceClass(device, "float32", 1).to_json())
        for prompt in writer.pending_generations():
            if prompt.position not in prompts:
                continue
            writer.start_generation(prompt.id, 10)
            prefix = 10
            for number in range(1, ROUNDS + 1):
                path_of = range(accepted)
                made = make_round(number, parents=(None, 0, 1), path=path_of, prefix_length=prefix)
                own = (number + prompt.position * (3 + CELLS.index(cell))) % 5 - 2
                ms = slow * round_ms * (1 + 0.1 * prompt.position + 0.01 * own)
                total.append(ms)
                writer.record_round(prompt.id, replace(made, draft_ms=0.0, verify_ms=ms, other_ms=0.0))
                prefix += accepted + 1
            writer.finish_generation(prompt.id, "finished", finish_reason="length")
        for place in range(baselines):
            writer.add_baseline(slow * 20.0 * (1 + 0.002 * place), 1, fmean(total))
        writer.set_status(status)


def compared(path: Path) -> SweepComparison:
    with Reader(path) as reader:
        return compare_sweep(reader, "night")


def only(path: Path) -> Contest:
    (contest,) = compared(path).contests
    return contest


def test_a_machine_that_was_slower_during_one_session_does_not_make_its_drafter_slower(path: Path) -> None:
    fast, slow = CELLS[0], CELLS[2]
    record(path, fast, accepted=1, round_ms=30.0)
    record(path, slow, accepted=1, round_ms=30.0, slow=2.0)
    contest = only(path)
    assert contest.over_plain
    other = contest.candidates[1]
    assert other.over_best == pytest.approx(1.0, abs=0.02)
    assert other.over_best_ci is not None
    assert other.over_best_ci[0] < 1.0 < other.over_best_ci[1]
    assert not other.told_apart
    speeds = sorted(each.tokens_per_second or 0.0 for each in contest.candidates)
    assert speeds[1] == pytest.approx(2 * speeds[0], rel=0.02)


def test_pairs_by_prompt_tell_a_small_difference_that_prompts_apart_from_each_other_would_hide(
    path: Path,
) -> None:
    record(path, CELLS[0], accepted=1, round_ms=30.0)
    record(path, CELLS[1], accepted=1, round_ms=33.0, prompts=range(1, PROMPTS))
    contest = only(path)
    best, other = contest.candidates
    assert (best.cell, best.best, other.best) == (CELLS[0], True, False)
    assert other.pairs == PROMPTS - 1
    assert other.over_best == pytest.approx(30.0 / 33.0, rel=0.02)
    assert other.told_apart
    # Prompts differ by 70 %, the two by 10 %.
    assert other.over_best_ci is not None
    assert other.over_best_ci[1] - other.over_best_ci[0] < 0.05


def test_the_front_is_of_those_that_no_other_beats_in_speed_and_acceptance(path: Path) -> None:
    for cell, accepted, ms in zip(CELLS, (1, 2, 0, 1), (20.0, 45.0, 12.0, 40.0), strict=True):
        record(path, cell, accepted=accepted, round_ms=ms)
    contest = only(path)
    front = {each.cell: each.front for each in contest.candidates}
    # tokens a second: 100, 66.7, 83.3, 50; tokens a round: 2, 3, 1, 2
    assert front == {CELLS[0]: True, CELLS[1]: True, CELLS[2]: False, CELLS[3]: False}
    assert [each.cell for each in contest.candidates] == [CELLS[0], CELLS[2], CELLS[1], CELLS[3]]


def test_without_plain_decoding_tokens_per_second_are_compared_and_it_is_said(path: Path) -> None:
    record(path, CELLS[0], accepted=1, round_ms=30.0)
    record(path, CELLS[1], accepted=1, round_ms=30.0, slow=2.0, baselines=0)
    comparison = compared(path)
    (contest,) = comparison.contests
    assert not contest.over_plain
    assert contest.candidates[1].over_best == pytest.approx(0.5, rel=0.02)
    assert "slower during one session" in comparison.notes["speed"]


def test_unlike_devices_are_not_compared_and_unfinished_sessions_are_named(path: Path) -> None:
    record(path, CELLS[0], accepted=1, round_ms=30.0)
    record(path, CELLS[1], accepted=1, round_ms=3.0, device="NVIDIA H200", status="stopped")
    comparison = compared(path)
    assert [len(contest.candidates) for contest in comparison.contests] == [1, 1]
    assert "devices" in comparison.notes
    assert "3 of 4 sessions" in comparison.notes
    assert all(contest.best.over_best is None for contest in comparison.contests)


def test_a_sweep_is_as_far_as_its_prompts_are(path: Path) -> None:
    record(path, CELLS[0], accepted=1, round_ms=30.0)
    record(path, CELLS[1], accepted=1, round_ms=30.0, prompts=range(4), status="running")
    with Reader(path) as reader:
        (sweep,) = sweeps(reader)
    assert (len(sweep.done), len(sweep.running), sweep.share) == (1, 1, 0.375)
    assert sweep.words == "sweep night: 1 of 4 sessions, 38 %"
    assert not sweep.complete


def test_one_cell_has_one_session_and_a_sweep_one_set_of_options(path: Path) -> None:
    record(path, CELLS[0], accepted=1, round_ms=30.0)
    with pytest.raises(StoreError, match="has this cell of the sweep"):
        record(path, CELLS[0], accepted=1, round_ms=30.0)
    with closing(connect(path)) as db:
        with pytest.raises(StoreError, match=r"begun with other settings \(seed was 0 and is 1\)"):
            begin_sweep(db, "night", CELLS, {"seed": 1})
        assert begin_sweep(db, "night", CELLS[:2], {"seed": 0, "prompts of math": "abc"}) == 1
    with Reader(path) as reader:
        assert [len(sweep.cells) for sweep in sweeps(reader)] == [2]


def test_a_name_that_none_has_is_answered_with_those_there_are(path: Path) -> None:
    record(path, CELLS[0], accepted=1, round_ms=30.0)
    with Reader(path) as reader, pytest.raises(StoreError, match="there is no sweep 'day'; there are night"):
        compare_sweep(reader, "day")


def test_the_interval_of_a_ratio_holds_the_true_one_as_often_as_it_says() -> None:
    """Prompts differ, drafters do so unlike from prompt to prompt, and each session has a machine of its own pace."""
    rng = np.random.default_rng(5)
    true, prompts, sessions = 0.9, 8, 400
    held = 0
    for _ in range(sessions):
        hard, own = np.exp(rng.normal(0.0, 0.3, prompts)), np.exp(rng.normal(0.0, 0.06, prompts))
        (one, its_prompts), (best, of_best) = (
            drawn(rng, factor, pace)
            for factor, pace in zip((hard * own / true, hard), np.exp(rng.normal(0.0, 0.2, 2)), strict=True)
        )
        ci = _against(one, best, its_prompts, of_best, True).over_best_ci
        held += ci is not None and ci[0] <= true <= ci[1]
    assert 0.92 <= held / sessions <= 0.99


def drawn(rng: np.random.Generator, factors: Floats, pace: float) -> tuple[Candidate, dict[Key, Sums]]:
    """A candidate whose prompts take so many times 20 ms a token, on a machine of that pace, and its prompts."""
    tokens = rng.integers(40, 128, len(factors))
    ms = tokens * 20.0 * factors * pace * np.exp(rng.normal(0.0, 0.05, len(factors)))
    round_ms = float(2 * ms.sum() / tokens.sum())
    pairs = [
        (24.0 * pace * math.exp(rng.normal(0.0, 0.1)), round_ms * math.exp(rng.normal(0.0, 0.05)))
        for _ in range(20)
    ]
    known = pace_of(pairs, round_ms)
    session: Any = SimpleNamespace(
        plain_ms=known.ms,
        baseline_low_ms=known.low_ms,
        baseline_high_ms=known.high_ms,
        baseline_count=known.times,
    )
    prompts = {
        (str(i), 1): (float(n), n / 2, n / 2, float(t))
        for i, (n, t) in enumerate(zip(tokens, ms, strict=True))
    }
    return Candidate(CELLS[0], session, len(factors), None, None, None, None, None, None), prompts
