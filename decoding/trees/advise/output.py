"""Advice as JSON, as a plan of trees, and in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from spectui.decoding.config import RunConfig
from spectui.decoding.trees.advise.advice import (
    WORTH,
    Advice,
    Judged,
    drawn,
    one_tree_serves,
    sampled,
    tree_per_task_pays,
)
from spectui.decoding.trees.advise.estimates import Estimate
from spectui.decoding.trees.costs import Machine
from spectui.decoding.trees.plan_file import Identity, TreePlan

WORTH_SAYING = 20_000
"""Nobody runs more prompts to learn of a gain that small."""


def advice_json(found: Advice) -> dict[str, Any]:
    """`spectui advise --json`. Intervals are of 90 %: `ci` that of the tokens per round, as many other prompts
    would show them, and `speedup_ci` that of the speed-up over decoding one token at a time."""
    costs = found.priced.costs
    return {
        "costs": {
            "device": costs.machine.device,
            "source": found.priced.source,
            "verify_ms": {str(rows): timing.median for rows, timing in costs.verify.items()},
            "draft_ms": {str(levels): timing.median for levels, timing in costs.draft.items()},
            "other_ms": costs.other.median,
            "other_node_ms": costs.other_node,
            "plain_ms": found.priced.plain_ms,
        },
        "tasks": {
            task.task: {
                **_judged(task.best),
                "prompts": task.prompts,
                "gain_over_used": _estimate(task.over_used),
                "gain_over_best_single": _estimate(task.over_single),
                "drafters": [
                    {
                        "drafter": row.drafter,
                        "session": row.session,
                        "tree": row.tree,
                        "predicted_speedup": row.speedup.value,
                        "ci": row.speedup.ci,
                    }
                    for row in found.drafters.get(task.task, ())
                ],
            }
            for task in found.tasks
        },
        "best_single": _judged(found.single),
        "used": _judged(found.used),
        "gain_of_per_task_budgets": _estimate(found.per_task_gain),
        "beyond_what_was_recorded": None if found.larger is None else _judged(found.larger),
        "verdict": verdict(found),
    }


def plan_of(found: Advice) -> TreePlan:
    """The plan that gives each task the tree advised for it."""
    config = RunConfig.from_dict(found.summary.config)
    machine = found.priced.costs.machine
    if found.summary.costs is None:  # then the names are all that is known of the models
        machine = Machine(Path(config.target).name, Path(config.base_draft).name, "", "", 0, "")
    return TreePlan(
        Identity.of(machine, config.lookup_suffix),
        {task.task: task.best.tree for task in found.tasks},
        found.single.tree,
        found.summary.name,
        {task.task: round(task.best.speedup.value, 4) for task in found.tasks},
    )


def _judged(tree: Judged) -> dict[str, Any]:
    return {
        "tree": tree.tree,
        "predicted_tokens_per_round": tree.tokens_per_round.value,
        "predicted_speedup": tree.speedup.value,
        "ci": tree.tokens_per_round.ci,
        "speedup_ci": tree.speedup.ci,
        "bounds": tree.bounds,
    }


def _estimate(estimate: Estimate) -> dict[str, Any]:
    return {"ratio": estimate.value, "ci": estimate.ci}


def verdict(found: Advice) -> str:
    """Whether a tree per task pays, in a sentence; and how many prompts would decide where these do not.

    Nothing pays by less than `WORTH`, and what cannot be told is not called alike.
    """
    gain = found.per_task_gain
    prompts = f"{gain.prompts} prompts"
    if len(found.tasks) < 2:
        return f"There is one task: {found.single.tree} is its tree, told from {prompts}."
    fastest = max([found.single, *(task.best for task in found.tasks)], key=lambda tree: tree.speedup.value)
    if fastest.speedup.ci is not None and fastest.speedup.ci[1] < 1.0:
        return f"No tree pays here: the best, {fastest.tree}, is {fastest.speedup.value:.2f} times as fast as none."
    if gain.ci is None:
        return (
            f"{prompts} do not tell whether a tree per task pays: it takes two of each task. Until then "
            f"{found.single.tree} for all."
        )
    interval = (
        f"{gain.value:.3f} times as fast as one for all, 90 % interval {gain.ci[0]:.3f} to {gain.ci[1]:.3f}"
    )
    told = f"told from {prompts} that the trees were not chosen on"
    if tree_per_task_pays(found):
        return f"A tree per task pays: {interval}, {told}."
    if one_tree_serves(found):
        return (
            f"One tree serves all tasks as well: {found.single.tree}. A tree per task is {interval}, {told}."
        )
    needed = gain.prompts_to_tell(WORTH)
    more = ""
    if needed is not None and gain.prompts < needed < WORTH_SAYING:
        more = f" About {needed - gain.prompts:,} more prompts would tell whether it is {WORTH:g} times."
    return (
        f"{prompts} do not tell whether a tree per task pays: it is {interval}. Until then {found.single.tree} for all."
        f"{more}"
    )


def undecided(found: Advice) -> list[str]:
    """Tasks whose tree cannot be told from the one used, and what would tell, a line each; and what sampling
    leaves open."""
    said = []
    if sampled(found.summary):
        said.append(
            "The text was sampled: another tree would have drawn another, and these figures are of as many "
            "draws as there are prompts."
        )
    if found.summary.pruned:
        count = found.summary.pruned
        left = "1 prompt is" if count == 1 else f"{count} prompts are"
        said.append(f"{left} left out: rejected nodes were given up (--keep-nodes).")
    if drawn(found.summary):
        said.append(
            "Dynamic trees are not weighed: a static tree's nodes are drawn when sampling, theirs are the likeliest "
            "ones. A run with one would tell."
        )
    for task in found.tasks:
        gain = task.over_used
        if task.best.tree == found.used.tree:
            continue
        if gain.ci is None:
            said.append(f"{task.task}: {task.prompts} prompt is too little for an interval; it takes two")
        elif gain.ci[0] <= 1.0 <= gain.ci[1]:
            needed = gain.prompts_needed
            if needed is not None and needed > task.prompts:
                said.append(
                    f"{task.task}: {task.prompts} prompts do not tell {task.best.tree} from {found.used.tree}; "
                    f"about {needed - task.prompts:,} more would"
                )
    return said
