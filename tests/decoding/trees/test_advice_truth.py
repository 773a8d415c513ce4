"""Protects what advice concludes from few prompts and from costs that are off, on replays whose truth was planted."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from spectui.decoding.trees.advise.advice import Advice, one_tree_serves, tree_per_task_pays
from spectui.decoding.trees.advise.estimates import WIDEST, Prompts
from spectui.decoding.trees.advise.judge import Judge, in_sample, out_of_fold
from spectui.decoding.trees.advise.prices import MEASURED, Priced
from spectui.decoding.trees.advise.replay import Replay
from spectui.decoding.trees.costs import Costs, Machine, Timing

TASKS, TREES, SESSIONS = 4, 12, 40
MACHINE = Machine("t", "d", "cpu", "float32", 2, "2")


def exactly(ms: float) -> Timing:
    return Timing(ms, ms * 0.99, ms * 1.01, 30)


def costs(factor: dict[int, float] | None = None) -> Costs:
    """Costs of rounds; `factor` by rows is the error of a measurement."""
    verify = {rows: exactly((20 + rows) * (factor or {}).get(rows, 1.0)) for rows in (1, 2, 4, 8, 16)}
    return Costs(MACHINE, verify, {1: exactly(2.0), 4: exactly(8.0)}, exactly(1.0), 100, "")


PRICED = Priced(costs(), MEASURED)


def replays(prompts: int, gain: float, rng: np.random.Generator) -> tuple[dict[str, Replay], np.ndarray]:
    """Trees of which each task has one that is `gain` times as fast as any other; all else is noise."""
    count = TASKS * prompts
    groups = np.repeat(np.arange(TASKS), prompts)
    hard = rng.normal(scale=0.15, size=count)
    by_tree = {}
    for tree in range(TREES):
        fits = np.where(groups == tree, gain, 1.0)
        ms = 2000 * np.exp(hard + rng.normal(scale=0.04, size=count)) / fits
        rounds = ms / 30
        by_tree[f"tree{tree}"] = Replay(
            f"tree{tree}", np.full(count, 80.0), rounds, ms, rounds, rounds, 0.0, 8.0, 3.0
        )
    return by_tree, groups


def gained(prompts: int, gain: float, seed: int) -> Advice:
    """Advice as far as the gain of a tree per task goes."""
    within, groups = replays(prompts, gain, np.random.default_rng(seed))
    judge = Judge(within, PRICED, Prompts(groups.tolist()))
    of_task, of_all = out_of_fold(within, groups)
    per_task = judge.gain(of_task, judge.replays(of_all), None)
    most = judge.gain(*in_sample(within, groups), None, out_of_fold=False)
    return cast(Advice, SimpleNamespace(per_task_gain=per_task, most_gain=most))


def test_three_prompts_a_task_do_not_make_trees_alike() -> None:
    """Each task has a tree that is 3 % faster, which three prompts seldom find; that says not that none is."""
    assert sum(one_tree_serves(gained(3, 1.03, seed)) for seed in range(SESSIONS)) <= 0.05 * SESSIONS


@pytest.mark.parametrize("prompts", [3, 5])
def test_few_prompts_seldom_make_a_gain_of_nothing(prompts: int) -> None:
    """Choices for different folds share their luck; intervals that forget it said "pays" in 8 of 100."""
    gains = [gained(prompts, 1.0, seed) for seed in range(200)]
    assert sum(tree_per_task_pays(each) for each in gains) <= 0.05 * len(gains)
    ends = [each.per_task_gain.ci or (1.0, 1.0) for each in gains]
    assert sum(low <= 1.0 <= high for low, high in ends) >= 0.88 * len(gains)


def test_nothing_pays_by_less_than_a_prediction_is_off() -> None:
    for gain in (1.0, 1.01):
        assert sum(tree_per_task_pays(gained(10, gain, seed)) for seed in range(SESSIONS)) <= 0.05 * SESSIONS
    assert sum(tree_per_task_pays(gained(25, 1.08, seed)) for seed in range(20)) >= 18
    alike = [one_tree_serves(gained(60, 1.0, seed)) for seed in range(20)]
    assert sum(alike) >= 15  # as many prompts do tell


def test_the_luck_of_the_choice_is_no_gain_in_the_rows() -> None:
    """All trees are alike, so that the one chosen is no faster than another."""
    logs, out = [], 0
    for seed in range(SESSIONS):
        within, groups = replays(3, 1.0, np.random.default_rng(seed))
        judge = Judge(within, PRICED, Prompts(groups.tolist()))
        of_task, _ = out_of_fold(within, groups)
        used = [within["tree0"]] * len(groups)
        for task in range(TASKS):
            estimate = judge.gain(of_task, used, task)
            logs.append(np.log(estimate.value))
            out += estimate.ci is not None and estimate.ci[0] > 1.0
    assert abs(float(np.mean(logs))) < 3 * float(np.std(logs)) / np.sqrt(len(logs))
    assert out <= 0.1 * len(logs)


@pytest.mark.parametrize("prompts", [3, 25])
def test_speed_ups_are_covered_when_costs_are_off(prompts: int) -> None:
    """A look at the machine is off by 4 %; an interval of prompts alone holds the truth in one session of three."""
    hits = []
    for seed in range(SESSIONS):
        rng = np.random.default_rng(seed)
        off = {rows: float(np.exp(rng.normal(scale=0.028))) for rows in (1, 2, 4, 8, 16)}
        seen = Priced(costs(off), MEASURED)
        count = TASKS * prompts
        rounds = 2000 / 30 * np.exp(rng.normal(scale=0.12, size=count)) / np.exp(0.12**2 / 2)
        tree = Replay(
            "tree",
            np.full(count, 80.0),
            rounds,
            rounds * seen.costs.round_ms(7, 4),
            rounds,
            rounds,
            0.0,
            7.0,
            4.0,
        )
        judge = Judge({"tree": tree}, seen, Prompts(np.repeat(np.arange(TASKS), prompts).tolist()))
        estimate = judge.over_plain(["tree"] * count, None)
        true = 80 / (2000 / 30) * costs().round_ms(0, 0) / costs().round_ms(7, 4)
        assert estimate.ci is not None
        hits.append(estimate.ci[0] <= true <= estimate.ci[1])
    assert 0.82 <= np.mean(hits) <= 0.99


def test_two_prompts_that_have_nothing_in_common_have_an_interval_that_can_be_printed() -> None:
    """Such as one that repeats itself, where lookup drafts, and one that does not; it has no finite end."""
    estimate = Prompts([0, 0]).ratio([(np.array([1.0, 1e4]), np.array([1.0, 1.0]))] * 40, new_prompts=True)
    assert estimate.ci is not None
    assert estimate.ci == pytest.approx((estimate.value / WIDEST, estimate.value * WIDEST))
    assert estimate.most is not None
    assert math.isfinite(estimate.most)


def test_tokens_per_round_lie_between_one_and_one_more_than_the_tree_is_deep() -> None:
    """Two prompts gave a tree of two levels up to 5.28 tokens a round, and one of one level fewer than one."""
    tokens, rounds = np.array([80.0, 80.0]), np.array([32.0, 70.0])
    tree = Replay("chain:2", tokens, rounds, rounds, rounds, rounds, 0.0, 2.0, 2.0, 2.0)
    judged = Judge({"chain:2": tree}, PRICED, Prompts([0, 0])).judged(tree, None)
    assert judged.tokens_per_round.ci == (1.0, 3.0)


def test_tasks_of_one_prompt_are_no_certainty() -> None:
    """They vary with the others of their kind."""
    values = np.array([1.0, 1.3, 0.8, 1.0, 1.1, 0.9, 1.2, 1.05])
    ones = np.ones(len(values))
    alone = Prompts([0, 1, 2, 3, 3, 3, 3, 3]).ratio([(values, ones)])
    assert alone.ci is not None
    together = Prompts([3] * 8).ratio([(values, ones)])
    assert together.ci is not None
    assert alone.ci[1] - alone.ci[0] > 0.9 * (together.ci[1] - together.ci[0])
