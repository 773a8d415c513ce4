"""The study's claim, judged on a session: the task predicts acceptance better than the depth in the tree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from store.report.predictors import Labels, Predictor, jackknife_bias, r2, resampled_r2, without_one
from store.report.read import Floats, Ints
from store.report.resampling import Draws, Pair, interval

Answer = Literal["supported", "not supported", "reversed"]
CHANCE = 0.05
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
    verdict: Answer | None
    """None when there are too few prompts for an interval."""
    prompts: int


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
    ci = interval(drawn, prompts, len(np.unique(groups[used])), 2 * (float(np.nanmean(drawn)) - raw))
    answer: Answer | None
    if ci is None or of_task.null_p is None:
        answer = None
    elif ci[0] > 0 and of_task.null_p < CHANCE:
        answer = "supported"
    else:
        answer = "reversed" if ci[1] < 0 else "not supported"
    return Verdict(raw, raw - bias if np.isfinite(bias) else raw, ci, answer, prompts)


def sentence(verdict: Verdict) -> str:
    """The verdict in one sentence."""
    prompts = f"{verdict.prompts} prompt{'' if verdict.prompts == 1 else 's'}"
    if verdict.verdict is None or verdict.ci is None:
        return f"{CLAIM} cannot be judged with {prompts}: it takes two of each task."
    low, high = verdict.ci
    why = {
        "supported": "the task explains more than the depth",
        "reversed": "the depth explains more than the task",
        "not supported": "prompts of one task differ as much as tasks do, or the depth explains as much",
    }[verdict.verdict]
    return (
        f"{CLAIM} is {verdict.verdict} in this session, told from {prompts}: {why} (R² of task less R² of depth "
        f"{verdict.corrected:+.4f}, 95 % interval {low:+.4f} to {high:+.4f})."
    )


def _difference(task: Floats, depth: Floats) -> float:
    return float(_differences(task, depth)[0])


def _differences(task: Floats, depth: Floats) -> Floats:
    return r2(np.maximum(task, 0.0)) - r2(np.maximum(depth, 0.0))
