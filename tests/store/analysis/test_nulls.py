"""Protects the p of the task: tasks that mean nothing seldom seem to differ, however few and short their prompts."""

from __future__ import annotations

import numpy as np
import pytest

from spectui.store.analysis.nulls import tasks_p

SESSIONS = 200


@pytest.mark.parametrize(
    ("prompts", "rounds", "level"),
    [
        ((4, 20, 20, 20), (4, 60, 60, 60), 0.5),
        ((4, 20, 20, 20), (4, 60, 60, 60), 0.0),
        ((4, 4, 4), (20, 20, 20), 0.5),
    ],
)
def test_tasks_that_mean_nothing_are_seldom_significant(
    prompts: tuple[int, ...], rounds: tuple[int, ...], level: float
) -> None:
    """Welch's statistic alone said so in 9 of 100 where one task has four prompts of four rounds.

    `level` is added to shares, and to residuals nothing.
    """
    rng = np.random.default_rng(0)
    task, each = np.repeat(np.arange(len(prompts)), prompts), np.repeat(rounds, prompts)
    shares = rng.binomial(each, 0.4, (SESSIONS, len(each))) / each - 0.4 + level
    p = [tasks_p(values, 0.24 / each, task, 200, rng) or 1.0 for values in shares]
    assert np.mean(np.array(p) < 0.05) <= 0.055


def test_an_effect_is_found_although_one_task_has_short_prompts() -> None:
    rng = np.random.default_rng(0)
    task, each = np.repeat(np.arange(3), (8, 20, 20)), np.repeat((8, 60, 60), (8, 20, 20))
    truth = np.array([0.6, 0.4, 0.5])[task]
    p = [tasks_p(rng.binomial(each, truth) / each, 0.24 / each, task, 200, rng) or 1.0 for _ in range(20)]
    assert max(p) < 0.05
