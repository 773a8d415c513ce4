"""Advice as JSON, as a plan of trees, and in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from spectui.decoding.config import RunConfig
from spectui.decoding.trees.advise.advice import (
    WORTH,
    Advice,
    has_drawn_nodes,
    one_tree_serves,
    sampled,
    tree_per_task_pays,
)
from spectui.decoding.trees.advise.estimates import Estimate
from spectui.decoding.trees.advise.judge import Judged
from spectui.decoding.trees.costs import Machine
from spectui.decoding.trees.plan_file import Identity, TreePlan

WORTH_SAYING = 20_000
"""More prompts than this are not suggested: no one runs so many for so small a gain."""


def advice_json(advice: Advice) -> dict[str, Any]:
    """The object that `spectui advise --json` prints. Intervals are of 90 %: `ci` is that of the tokens per round
    that as many other prompts would show, `speedup_ci` that of the speed-up over decoding one token at a time."""
    costs = advice.priced.costs
    return {
        "costs": {
            "device": costs.machine.device,
            "source": advice.priced.source,
            "verify_ms": {str(rows): timing.median for rows, timing in costs.verify.items()},
            "draft_ms": {str(levels): timing.median for levels, timing in costs.draft.items()},
            "other_ms": costs.other.median,
            "other_node_ms": costs.other_node,
            "plain_ms": advice.priced.plain_ms,
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
                    for row in advice.drafters.get(task.task, ())
                ],
            }
            for task in advice.tasks
        },
        "best_single": _judged(advice.single),
        "used": _judged(advice.used),
        "gain_of_per_task_budgets": _estimate(advice.per_task_gain),
        "beyond_what_was_recorded": None if advice.larger is None else _judged(advice.larger),
        "verdict": verdict(advice),
    }


def plan_of(advice: Advice) -> TreePlan:
    """The plan that gives each task the tree advised for it."""
    config = RunConfig.from_dict(advice.summary.config)
    machine = advice.priced.costs.machine
    if advice.summary.costs is None:  # then the names are all that is known of the models
        machine = Machine(Path(config.target).name, Path(config.base_draft).name, "", "", 0, "")
    return TreePlan(
        Identity.of(machine, config.lookup_suffix),
        {task.task: task.best.tree for task in advice.tasks},
        advice.single.tree,
        advice.summary.name,
        {task.task: round(task.best.speedup.value, 4) for task in advice.tasks},
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


def verdict(advice: Advice) -> str:
    """A sentence on whether a tree per task pays, and on how many prompts would show it where these do not.

    Nothing pays by less than `WORTH`, and trees are called alike only where the prompts show it.
    """
    gain = advice.per_task_gain
    prompts = f"{gain.prompts} prompts"
    if len(advice.tasks) < 2:
        return f"There is one task: {advice.single.tree} is its tree, judged on {prompts}."
    fastest = max([advice.single, *(task.best for task in advice.tasks)], key=lambda tree: tree.speedup.value)
    if fastest.speedup.ci is not None and fastest.speedup.ci[1] < 1.0:
        return f"No tree pays here: the best, {fastest.tree}, is {fastest.speedup.value:.2f} times as fast as none."
    if gain.ci is None:
        return (
            f"{prompts} do not tell whether a tree per task pays: it takes two of each task. Until then "
            f"{advice.single.tree} for all."
        )
    interval = (
        f"{gain.value:.3f} times as fast as one for all, 90 % interval {gain.ci[0]:.3f} to {gain.ci[1]:.3f}"
    )
    judged_on = f"judged on {prompts} that the trees were not chosen on"
    if tree_per_task_pays(advice):
        return f"A tree per task pays: {interval}, {judged_on}."
    if one_tree_serves(advice):
        return f"One tree serves all tasks as well: {advice.single.tree}. A tree per task is {interval}, {judged_on}."
    needed = gain.prompts_to_tell(WORTH)
    more = ""
    if needed is not None and gain.prompts < needed < WORTH_SAYING:
        more = f" About {needed - gain.prompts:,} more prompts would tell whether it is {WORTH:g} times."
    return (
        f"{prompts} do not tell whether a tree per task pays: it is {interval}. "
        f"Until then {advice.single.tree} for all.{more}"
    )


def undecided(advice: Advice) -> list[str]:
    """Questions that the session leaves open, a line each: tasks whose tree is not shown to differ from the one used,
    with the prompts that it would take, and the limits of a sampled or pruned session."""
    lines = []
    if sampled(advice.summary):
        lines.append(
            "The text was sampled: another tree would have drawn another, and these figures are of as many "
            "draws as there are prompts."
        )
    if advice.summary.pruned:
        count = advice.summary.pruned
        prompts = "1 prompt is" if count == 1 else f"{count} prompts are"
        lines.append(f"{prompts} left out: rejected nodes were given up (--keep-nodes).")
    if has_drawn_nodes(advice.summary):
        lines.append(
            "Dynamic trees are not weighed: a static tree's nodes are drawn when sampling, theirs are the likeliest "
            "ones. A run with one would tell."
        )
    for task in advice.tasks:
        gain = task.over_used
        if task.best.tree == advice.used.tree:
            continue
        if gain.ci is None:
            few = "1 prompt is too little" if task.prompts == 1 else f"{task.prompts} prompts are too few"
            lines.append(f"{task.task}: {few} for an interval; it takes two that differ")
        elif gain.ci[0] <= 1.0 <= gain.ci[1]:
            needed = gain.prompts_needed
            if needed is not None and needed > task.prompts:
                lines.append(
                    f"{task.task}: {task.prompts} prompts do not tell {task.best.tree} from {advice.used.tree}; "
                    f"about {needed - task.prompts:,} more would"
                )
    return lines
