"""Protects: every metric's definition, in Python and in SQL, and the intervals around them."""

from __future__ import annotations

import itertools
import sqlite3
import time

import numpy as np
import pytest
from sqlite_utils import Database

from spectui.store.counts import metrics
from spectui.store.counts.intervals import mean_interval, ratio_interval
from spectui.store.reading.reader import Reader
from tests.store.samples import record_all


def test_no_data_is_none_and_never_zero() -> None:
    for metric in (
        metrics.match_rate,
        metrics.mean_overlap,
        metrics.accepted_at_risk,
        metrics.mean_accepted_length,
        metrics.tokens_per_round,
        metrics.hazard,
    ):
        assert metric(0, 0) is None
        assert metric(0, 4) == 0.0
        assert metric(1, 4) == 0.25
    assert metrics.tokens_per_second(5, 0.0) is None
    assert metrics.speedup(10, 100.0, None) is None


def test_speed_is_in_seconds_and_against_the_baseline() -> None:
    assert metrics.tokens_per_second(10, 500.0) == 20.0
    # 20 tokens/s where one at a time takes 100 ms, 10 tokens/s.
    assert metrics.speedup(10, 500.0, 100.0) == pytest.approx(2.0)


def test_survival_is_of_all_rounds_that_were_not_cut_before() -> None:
    assert metrics.reached(12, 40, 0) == pytest.approx(0.3)
    assert metrics.reached(12, 40, 4) == pytest.approx(1 / 3)
    assert metrics.reached(0, 4, 4) is None


def test_the_studys_chain_formula_gives_the_studys_numbers() -> None:
    assert metrics.chain_expected_length(0.565, (1, 1, 1)) == pytest.approx(1.065, abs=0.001)
    assert metrics.chain_expected_length(0.518, (1, 1, 1)) == pytest.approx(0.925, abs=0.001)


def test_overlap_and_at_risk_mean_the_same_in_sql() -> None:
    connection = sqlite3.connect(":memory:")
    for p, q in itertools.product([0.0, 1e-30, 0.3, 0.7, 1.0], [None, 0.0, 1e-300, 0.3, 1.0]):
        (value,) = connection.execute(
            f"SELECT {metrics.OVERLAP_SQL} FROM (SELECT ? AS draft_p, ? AS target_p) AS node", (q, p)
        ).fetchone()
        assert value == metrics.overlap(p, q)
    for parent, depth, length, cut in itertools.product([None, 0, 1], [1, 2, 3], [0, 1, 2], [None, "eos"]):
        (value,) = connection.execute(
            f"SELECT {metrics.AT_RISK_SQL} FROM (SELECT ? AS parent, ? AS depth) AS node,"
            " (SELECT ? AS accepted) AS parent, (SELECT ? AS accepted_length, ? AS cut) AS round",
            (None if parent is None else 0, depth, parent, length, cut),
        ).fetchone()
        assert bool(value) == metrics.at_risk(parent is None or bool(parent), depth, length, cut)


def test_an_interval_is_that_of_the_normal_approximation_when_there_are_many_prompts() -> None:
    rng = np.random.default_rng(1)
    rounds = rng.integers(20, 60, size=400).astype(float)
    accepted = rng.poisson(1.4 * rounds).astype(float)
    interval = ratio_interval(accepted, rounds)
    assert interval is not None
    value = accepted.sum() / rounds.sum()
    error = np.sqrt(np.sum((accepted - value * rounds) ** 2)) / rounds.sum()
    assert interval.value == pytest.approx(value)
    assert interval.half_width == pytest.approx(1.966 * error, rel=0.01)
    assert interval.low < value < interval.high
    assert interval.prompts == 400


@pytest.mark.parametrize("prompts", [2, 3, 5, 20])
def test_few_prompts_are_covered_as_often_as_is_said(prompts: int) -> None:
    """A percentile bootstrap of two prompts holds the truth in half of all sessions, of five in six of seven."""
    rng = np.random.default_rng(prompts)
    hits = []
    for _ in range(400):
        chance = rng.beta(0.5 * 19, 0.5 * 19, size=prompts)
        rounds = rng.integers(15, 40, size=prompts)
        interval = ratio_interval(rng.binomial(rounds, chance).tolist(), rounds.tolist(), (0.0, 1.0))
        hits.append(interval is not None and interval.low <= 0.5 <= interval.high)
    assert 0.92 <= np.mean(hits) <= 0.985


def test_a_few_long_prompts_are_as_few_as_they_are() -> None:
    """Of ten prompts one has a quarter of all rounds: without leaving it out the truth is held in nine of ten."""
    rng = np.random.default_rng(4)
    rounds = np.resize([8, 12, 14, 20, 26, 35, 60, 90], 10)
    hits = []
    for _ in range(500):
        top = rng.binomial(rounds, rng.beta(0.6 * 9, 0.4 * 9, size=10))
        interval = ratio_interval(top.tolist(), rounds.tolist(), (0.0, 1.0))
        hits.append(interval is not None and interval.low <= 0.6 <= interval.high)
    assert 0.93 <= np.mean(hits) <= 0.98


def test_tasks_have_means_of_their_own_and_one_prompt_alone_is_no_certainty() -> None:
    task = np.array([0, 0, 0, 1, 1, 1, 2])
    apart = mean_interval([1.0, 1.1, 0.9, 5.0, 5.1, 4.9, 3.0], stratum=task)
    mixed = mean_interval([1.0, 1.1, 0.9, 5.0, 5.1, 4.9, 3.0])
    assert apart is not None
    assert mixed is not None
    assert apart.half_width < mixed.half_width
    certain = mean_interval([1.0, 1.1, 0.9, 5.0, 5.1, 4.9], stratum=task[:6])
    assert certain is not None
    assert apart.half_width > 3 * certain.half_width


def test_more_rounds_of_the_same_prompts_make_no_interval_narrower() -> None:
    accepted, rounds = [10, 14, 9, 22, 17], [10, 10, 10, 10, 10]
    small = ratio_interval(accepted, rounds)
    large = ratio_interval([100 * a for a in accepted], [100 * r for r in rounds])
    assert small is not None
    assert large is not None
    assert large.half_width == pytest.approx(small.half_width)
    assert small.half_width > 0.1


def test_prompts_that_agree_and_one_prompt_give_no_interval() -> None:
    """That two prompts agree says nothing of a third."""
    assert ratio_interval([10, 20, 30], [5, 10, 15]) is None
    assert ratio_interval([3], [2]) is None
    assert ratio_interval([3, 0], [2, 0]) is None
    assert ratio_interval([], []) is None


def test_intervals_of_a_session_stand_still_while_the_data_does(db: Database) -> None:
    session_id = record_all(db, ["code"] * 6 + ["math"] * 6 + ["chat"], 10)
    reader = Reader(db)
    intervals = reader.intervals(session_id)
    assert list(intervals) == ["code", "math"]
    figures = reader.figures(session_id)
    for task, interval in intervals.items():
        assert interval.value == pytest.approx(figures[task].mean_accepted_length)
        assert interval.prompts == 6
    assert reader.intervals(session_id) == intervals


@pytest.mark.parametrize("metric", metrics.RATIOS)
def test_every_ratio_has_an_interval_around_the_figure_of_its_name(db: Database, metric: str) -> None:
    session_id = record_all(db, ["code"] * 4, 10)
    reader = Reader(db)
    interval = reader.intervals(session_id, metric)["code"]
    assert interval.value == pytest.approx(getattr(reader.figures(session_id)["code"], metric))


def test_an_interval_of_very_many_prompts_is_that_of_all_of_them_at_a_bounded_cost() -> None:
    rng = np.random.default_rng(5)
    rounds = rng.integers(20, 60, 40_000)
    accepted = rng.binomial(rounds, rng.beta(4, 4, 40_000))
    begun = time.process_time()
    interval = ratio_interval(accepted.tolist(), rounds.tolist())
    assert time.process_time() - begun < 2.0
    assert interval is not None
    assert interval.prompts == 40_000
    # The delta method: what the cluster bootstrap comes to where there are many clusters.
    residuals = accepted - interval.value * rounds
    spread = 1.96 * residuals.std() / (rounds.mean() * 200)
    assert interval.half_width == pytest.approx(spread, rel=0.06)
