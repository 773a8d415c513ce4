"""The study's claim, judged on a session: the task predicts acceptance better than the depth in the tree."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from store.report.predictors import Labels, Predictor, jackknife_bias, r2, resampled_r2, without_one
from store.report.read import Floats, Ints
from store.report.resampling import Draws, Pair, interval

Answer = Literal["supported", "not supported", "reversed"]
CHANCE = 0.05
_TOLD = 1 + 0.8416 / 1.9600
"""Half widths from 0 at which a difference is told four times in five: normal quantiles of 0.8 and 0.975."""
_MOST = 1_000_000
CLAIM = "The published claim that the task predicts acceptance better than tree depth"


@dataclass(frozen=True)
class Verdict:
    """R2 of the task less R2 of the depth, and what that says."""

    mcfadden_r2_difference: float
    """Raw."""
    corrected: float
    """Without the bias that prompts differing by chance give it."""
    ci: Pair | None
    """95 %, of the corrected difference."""
    null_p: float | None
    """Share of ways to deal the tasks anew to the prompts in which the task explains as much."""
    verdict: Answer | None
    """None without an interval: it takes two prompts of each task."""
    prompts: int
    prompts_needed: int | None
    """As many as would tell a difference of this size four times in five; None without an interval or a difference."""


def judge(task: Labels, depth: Labels, of_task: Predictor, draws: Draws, groups: Ints) -> Verdict:
    """Supported: the interval lies above 0, and tasks dealt anew to the prompts seldom explain as much.

    Both are needed. Prompts that differ by chance give tasks that differ, so a raw R2 of the task is above
    0 always, and a depth that explains nothing is beaten by it; a resample of prompts has that bias twice.
    Reversed: the interval lies below 0. `groups` [prompts] is each prompt's task.
    """
    drawn = resampled_r2(task, draws) - resampled_r2(depth, draws)
    raw = _difference(task.table.sum(axis=0)[None], depth.table.sum(axis=0)[None])
    used = task.sizes > 0
    left = _differences(without_one(task), without_one(depth))[used]
    bias = jackknife_bias(left, raw, groups[used])
    prompts = int(used.sum())
    alone = np.unique(groups[used], return_counts=True)[1].min() < 2
    shift = 2 * (float(np.nanmean(drawn)) - raw)
    ci = None if alone else interval(drawn, prompts, draws.strata, shift=shift)
    answer: Answer | None
    if ci is None or of_task.null_p is None:
        answer = None
    elif ci[0] > 0 and of_task.null_p < CHANCE:
        answer = "supported"
    else:
        answer = "reversed" if ci[1] < 0 else "not supported"
    corrected = raw - bias if np.isfinite(bias) else raw
    return Verdict(
        raw, corrected, ci, of_task.null_p, answer, prompts, _needed(corrected, ci, of_task, prompts)
    )


def _needed(difference: float, ci: Pair | None, task: Predictor, prompts: int) -> int | None:
    """How many prompts like these would do: an interval shrinks as 1 / sqrt(n), what chance explains as 1 / n."""
    if ci is None or task.null_high is None or task.null_r2 is None or abs(difference) < 1e-9:
        return None
    half = (ci[1] - ci[0]) / 2
    needed = prompts * (_TOLD * half / difference) ** 2
    if difference > 0:
        beyond_chance = task.mcfadden_r2_corrected
        if beyond_chance <= 0:
            return None
        needed = max(needed, prompts * (task.null_high - task.null_r2) / beyond_chance)
    return max(math.ceil(min(needed, _MOST)), 2 * (task.df + 1))


def sentence(verdict: Verdict) -> str:
    """The verdict in one sentence."""
    prompts = f"{verdict.prompts} prompt{'' if verdict.prompts == 1 else 's'}"
    if verdict.verdict is None or verdict.ci is None:
        return f"{CLAIM} cannot be judged with {prompts}: it takes two of each task."
    by_chance = verdict.null_p is not None and verdict.null_p >= CHANCE
    low, high = verdict.ci
    if verdict.prompts_needed is None:
        needed = "; no number of prompts tells a difference this close to none"
    elif verdict.prompts_needed > verdict.prompts:
        needed = f"; to tell a difference of this size takes about {verdict.prompts_needed:,} prompts"
    else:
        needed = f"; about {verdict.prompts_needed:,} would have told it"
    why = {
        "supported": "the task explains more than the depth",
        "reversed": "the depth explains more than the task",
        "not supported": "prompts dealt to tasks at random often differ as much"
        if by_chance
        else "the depth may well explain as much",
    }[verdict.verdict]
    return (
        f"{CLAIM} is {verdict.verdict} in this session, told from {prompts}: {why} (R² of task less R² of depth "
        f"{verdict.corrected:+.4f}, 95 % interval {low:+.4f} to {high:+.4f}{needed})."
    )


def _difference(task: Floats, depth: Floats) -> float:
    return float(_differences(task, depth)[0])


def _differences(task: Floats, depth: Floats) -> Floats:
    return r2(np.maximum(task, 0.0)) - r2(np.maximum(depth, 0.0))
