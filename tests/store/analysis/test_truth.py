"""Protects what a report concludes, on sessions whose truth was planted; seeds are fixed, so nothing here is by chance.

`python -m tests.bench.report_coverage` does the same at length.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from spectui.store.analysis.counts import Counts
from spectui.store.analysis.report import Analysis, Report, report_of
from spectui.store.analysis.verdict import EFFECT, Verdict, judge
from tests.store.analysis.planted import planted
from tests.store.analysis.planted_trees import CHAIN, FULL, UNEVEN, Truth, alike, planted_trees

FLAT = dict.fromkeys(("code", "math", "logic", "chat"), 0.4)
ICC = 0.1
SESSIONS = 40


def within(share: float, expected: float, trials: int) -> bool:
    """True when a share is its expected one up to three standard errors of so many trials."""
    return abs(share - expected) <= 3 * math.sqrt(expected * (1 - expected) / trials)


@pytest.fixture(scope="module")
def null() -> list[Report]:
    """Sessions whose tasks are alike and whose prompts are not."""
    return [report_of(planted(FLAT, rounds=20, icc=ICC, seed=seed)) for seed in range(SESSIONS)]


def test_planted_acceptance_is_covered_at_the_nominal_rate(null: list[Report]) -> None:
    cis = [group.alpha["match"].ci for report in null for group in report.tasks.values()]
    hits = [ci is not None and ci[0] <= 0.4 <= ci[1] for ci in cis]
    assert within(float(np.mean(hits)), 0.95, len(hits))
    means = [report.overall.alpha["match"].mean for report in null if report.overall]
    error = math.sqrt(ICC * 0.24 / 48 / SESSIONS)
    assert abs(float(np.mean(np.array(means, dtype=float))) - 0.4) < 4 * error


def test_planted_intra_class_correlation_is_found_and_covered(null: list[Report]) -> None:
    groups = [report.overall for report in null if report.overall]
    alike = [group.clustering for group in groups if group.clustering is not None]
    correlations = np.array([each.icc for each in alike], dtype=float)
    assert abs(correlations.mean() - ICC) < 3 * correlations.std() / math.sqrt(len(correlations))
    hits = [each.icc_ci is not None and each.icc_ci[0] <= ICC <= each.icc_ci[1] for each in alike]
    assert within(float(np.mean(hits)), 0.95, len(hits))
    effects = [each.design_effect for each in alike]
    assert np.mean(np.array(effects, dtype=float)) == pytest.approx(1 + 59 * ICC, rel=0.1)


def test_siblings_that_exclude_each_other_are_no_likeness_of_prompts() -> None:
    """Of nodes the correlation is below 0 without any likeness, and its interval holds 0 in one session of five."""
    held, correlations = [], []
    for seed in range(40):
        group = Analysis(planted_trees(alike(Truth((0.6,) * 3, tree=FULL)), seed=seed)).group("all", None)
        assert group.clustering is not None
        assert group.clustering.icc_ci is not None
        low, high = group.clustering.icc_ci
        held.append(low <= 0 <= high)
        correlations.append(group.clustering.icc)
    assert sum(held) >= 34
    assert abs(np.mean(correlations)) < 3 * np.std(correlations) / math.sqrt(len(correlations))


def test_a_planted_null_is_called_one(null: list[Report]) -> None:
    """Chance explains as much as the task in all but one of twenty sessions, and the claim is supported in none."""
    predictors = [report.predictors["task"] for report in null]
    small = [p is not None and p.null_p is not None and p.null_p < 0.05 for p in predictors]
    assert within(float(np.mean(small)), 0.05, len(small))
    corrected = np.array([p.mutual_information_bits for p in predictors if p is not None])
    assert abs(corrected.mean()) < 3 * corrected.std() / math.sqrt(len(corrected))
    raw = np.array([p.mutual_information_plug_in for p in predictors if p is not None])
    assert raw.mean() > 5 * raw.std() / math.sqrt(len(raw))  # which is why it is corrected
    assert [verdict(report) for report in null].count("supported") <= 1


def verdict(report: Report) -> str | None:
    return report.task_minus_depth.verdict if report.task_minus_depth else None


def verdicts(tasks: Mapping[str, float], sessions: int, icc: float) -> tuple[list[str | None], float]:
    """The answers about sessions, and the mean raw R2 of the task in them."""
    reports = [report_of(planted(tasks, rounds=40, icc=icc, seed=1000 + seed)) for seed in range(sessions)]
    explained = [each.mcfadden_r2 for report in reports if (each := report.predictors["task"]) is not None]
    return [verdict(report) for report in reports], float(np.mean(explained))


def test_an_effect_of_the_task_is_found_and_one_as_large_of_prompts_alone_is_not() -> None:
    effect = 0.05
    tasks = {"code": 0.5 + effect, "math": 0.5 - effect, "logic": 0.5 + effect, "chat": 0.5 - effect}
    answers, size = verdicts(tasks, 15, icc=0.0)
    assert answers == ["supported"] * 15
    # Twelve prompts that differ so much make tasks differ as much, by chance alone.
    noise, noise_size = verdicts(dict.fromkeys(tasks, 0.5), 20, icc=12 * effect**2 / 0.25)
    assert noise_size > 0.7 * size
    assert noise.count("not supported") >= 19


def test_an_effect_of_the_depth_reverses_the_claim() -> None:
    for seed in range(3):
        report = report_of(planted(FLAT, icc=0.02, depth_effect=0.15, seed=seed))
        assert verdict(report) == "reversed"
        assert "is reversed in this session, told from 48 prompts" in report.verdict


def judged(tasks: Mapping[str, Truth], sessions: int, icc: float) -> list[Verdict]:
    """The verdicts on sessions of a planted truth."""
    return [judge(Counts(planted_trees(tasks, icc=icc, seed=seed))) for seed in range(sessions)]


STEADY = (0.6, 0.6, 0.6)
NULLS: dict[str, tuple[dict[str, Truth], float]] = {
    "worse below a rejected node": (alike(Truth(STEADY, off_path=0.8, prompts=25)), 0.0),
    "easy prompts reach deeper": (alike(Truth((0.4,) * 3, tree=CHAIN, prompts=25)), 0.2),
    "families of other sizes": (alike(Truth((0.6, 0.42, 0.42), tree=UNEVEN, off_path=0.8, prompts=25)), 0.05),
    "a rare task of short prompts": (
        {
            "rare": Truth((0.4,) * 3, tree=CHAIN, prompts=4, rounds=4),
            **alike(Truth((0.4,) * 3, tree=CHAIN, prompts=20, rounds=60), ("math", "logic", "chat")),
        },
        0.05,
    ),
}


@pytest.mark.parametrize("name", NULLS)
def test_depth_that_stands_for_something_else_reverses_nothing(name: str) -> None:
    """Neither task nor depth tells anything of a node at risk; over all nodes depth tells that the parent was rejected,
    and among nodes at risk that the prompt is easy."""
    tasks, icc = NULLS[name]
    results = judged(tasks, 10, icc)
    assert [each.verdict for each in results] == ["not supported"] * 10
    assert sum((each.by_nodes["at_risk"].depth_p or 0.0) < 0.05 for each in results) <= 2
    assert sum((each.by_nodes["at_risk"].task_p or 0.0) < 0.05 for each in results) <= 2
    if name == "worse below a rejected node":
        intervals = [each.by_nodes["all"].ci for each in results]
        assert all(ci is not None and ci[1] < 0 for ci in intervals)


def test_trees_that_differ_between_tasks_or_rounds_are_judged_by_nobody() -> None:
    mixed = {"code": Truth(STEADY, tree=CHAIN), **alike(Truth(STEADY), ("math", "chat"))}
    (result,) = judged(mixed, 1, 0.0)
    assert result.verdict is None
    assert result.why.startswith("code and math had different trees")
    assert not result.by_nodes
    data = planted_trees(alike(Truth(STEADY, tree=FULL)), seed=1)
    odd = np.arange(len(data.round_prompt)) % 4
    changing = judge(Counts(replace(data, tree=odd)))
    assert changing.verdict is None
    assert "was not the same in all rounds" in changing.why


def test_the_published_effect_is_found_as_often_as_its_prompts_allow() -> None:
    """50 prompts a task, acceptance of .518 to .565: an interval that is too careful finds it in one of six."""
    tasks = {
        name: Truth((chance,) * 3, tree=CHAIN, prompts=50, rounds=35)
        for name, chance in (("chat", 0.565), ("code", 0.5415), ("logic", 0.5415), ("math", 0.518))
    }
    results = judged(tasks, 12, 0.02)
    assert [each.verdict for each in results].count("supported") >= 4
    assert "reversed" not in [each.verdict for each in results]


def test_prompts_needed_are_of_a_stated_effect_and_never_of_noise() -> None:
    """Sessions without an effect say alike how many prompts one of R2 0.001 takes."""
    by_session = [each.needed for each in judged(alike(Truth((0.5,) * 3, tree=CHAIN, prompts=25)), 8, 0.05)]
    needed = [each for each in by_session if each is not None]
    assert len(needed) == 8
    about = [each[0] for each in needed]
    assert max(about) < 2 * min(about)
    assert all(low < middle < high for middle, low, high in needed)
    middle = sorted(about)[4]
    assert sum(low <= middle <= high for _, low, high in needed) >= 7
    # Noncentrality of a chi-square of 3 at which four in five exceed its 97.5 % quantile: 12.9, of 4 x 25 prompts.
    variance = 0.05 * 0.25 + 0.95 * 0.25 / 20 / 1.75
    assert middle == pytest.approx(12.9 * variance / (2 * 0.25 * math.log(2) * EFFECT), rel=0.35)


def test_a_correlation_with_entropy_is_measured() -> None:
    """Of a uniform rank u and a match of chance 0.5 -+ 0.2: cov / (sd sd) = -0.2 E|u - 1/2| / (sqrt(1/12) / 2)."""
    data = planted(dict.fromkeys(FLAT, 0.5), rounds=60, entropy_effect=0.2, seed=5)
    overall = report_of(data).overall
    assert overall is not None
    expected = -0.2 * 0.25 / (math.sqrt(1 / 12) / 2)
    rho = overall.rho["match"]
    assert rho.pooled == pytest.approx(expected, abs=0.03)
    assert rho.ci is not None
    assert rho.ci[0] < expected < rho.ci[1]
