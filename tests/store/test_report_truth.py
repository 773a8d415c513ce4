"""Protects what a report concludes, on sessions whose truth was planted; seeds are fixed, so nothing here is by chance.

`python -m tests.bench.report_coverage` does the same at length.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest

from store.report.report import Report, report_of
from tests.store.planted import planted

FLAT = dict.fromkeys(("code", "math", "logic", "chat"), 0.4)
ICC = 0.1
SESSIONS = 60


def within(found: float, expected: float, trials: int) -> bool:
    """Whether a share is its expected one up to three standard errors of so many trials."""
    return abs(found - expected) <= 3 * math.sqrt(expected * (1 - expected) / trials)


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
    found = np.array([group.icc for group in groups], dtype=float)
    assert abs(found.mean() - ICC) < 3 * found.std() / math.sqrt(len(found))
    hits = [group.icc_ci is not None and group.icc_ci[0] <= ICC <= group.icc_ci[1] for group in groups]
    assert within(float(np.mean(hits)), 0.95, len(hits))
    effects = [group.design_effect for group in groups]
    assert np.mean(np.array(effects, dtype=float)) == pytest.approx(1 + 59 * ICC, rel=0.1)


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
    """What is said of sessions, and the mean raw R2 of the task in them."""
    reports = [report_of(planted(tasks, rounds=40, icc=icc, seed=1000 + seed)) for seed in range(sessions)]
    explained = [each.mcfadden_r2 for report in reports if (each := report.predictors["task"]) is not None]
    return [verdict(report) for report in reports], float(np.mean(explained))


def test_an_effect_of_the_task_is_found_and_one_as_large_of_prompts_alone_is_not() -> None:
    effect = 0.05
    tasks = {"code": 0.5 + effect, "math": 0.5 - effect, "logic": 0.5 + effect, "chat": 0.5 - effect}
    found, size = verdicts(tasks, 15, icc=0.0)
    assert found == ["supported"] * 15
    # Twelve prompts that differ so much make tasks differ as much, by chance alone.
    noise, noise_size = verdicts(dict.fromkeys(tasks, 0.5), 20, icc=12 * effect**2 / 0.25)
    assert noise_size > 0.7 * size
    assert noise.count("not supported") >= 19


def test_an_effect_of_the_depth_reverses_the_claim() -> None:
    for seed in range(3):
        report = report_of(planted(FLAT, icc=0.02, depth_effect=0.15, seed=seed))
        assert verdict(report) == "reversed"
        assert "is reversed in this session, told from 48 prompts" in report.verdict


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
