"""Advice as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spectui.tui.report.grid import Cell, Column, Grid, grid
from spectui.tui.terminal.cells import counted

if TYPE_CHECKING:
    from spectui.decoding.trees.advise.advice import Advice
    from spectui.decoding.trees.advise.estimates import Estimate

EXAMPLE = 10
"""Nodes of the round whose rest is shown beside that of one without nodes."""


def advice_subject(advice: Advice) -> str:
    """The session that was replayed and the costs, on one line."""
    costs = advice.priced.costs
    summary = advice.summary
    prompts = counted(advice.prompts, "prompt")
    return (
        f"{summary.name}: {summary.target} <- {summary.drafter} with {summary.tree}, {prompts}; "
        f"costs {advice.priced.source}"
        + (f" ({costs.machine.device}, {costs.machine.dtype})" if costs.machine.dtype else "")
    )


def advice_tables(advice: Advice) -> list[Grid]:
    """The tree of each task, the drafters, and what a round costs."""
    return [_trees(advice), *_drafters(advice), _costs(advice)]


def _trees(advice: Advice) -> Grid:
    columns = [
        Column("task", "task", "text"),
        Column("tree", "tree that pays", "text"),
        Column("prompts", "prompts", "count"),
        Column("tokens", "tok/round", digits=2),
        Column("tokens_ci", "90 %", digits=2),
        Column("speedup", "x plain", digits=2),
        Column("speedup_ci", "90 %", digits=2),
        Column("used", "x used", digits=2),
        Column("used_ci", "90 %", digits=2),
        Column("single", "x single", digits=3),
        Column("single_ci", "90 %", digits=3),
    ]
    rows: list[list[Cell]] = []
    for task in advice.tasks:
        rows.append(
            [task.task, task.best.tree, task.prompts, *_pair(task.best.tokens_per_round), *_pair(task.best.speedup),
             *_pair(task.over_used), *_pair(task.over_single)]
        )  # fmt: skip
    for label, judged in (("all, one tree", advice.single), ("all, as used", advice.used)):
        rows.append(
            [label, judged.tree, advice.prompts, *_pair(judged.tokens_per_round), *_pair(judged.speedup),
             None, None, None, None]
        )  # fmt: skip
    note = (
        "tok/round as this many other prompts would show it; x plain, x used, x single: tokens per second over "
        "decoding one token at a time, over the tree of this run, over the best single tree, of trees chosen on other "
        "prompts than they are judged on; their intervals hold how well costs are known, too."
    )
    return grid("trees", "Trees", columns, rows, note)


def _pair(estimate: Estimate) -> tuple[Cell, Cell]:
    return estimate.value, estimate.ci


def _drafters(advice: Advice) -> list[Grid]:
    rows: list[list[Cell]] = [
        [task, row.drafter, row.session, row.tree, row.speedup.value, row.speedup.ci]
        for task, drafters in advice.drafters.items()
        if len(drafters) > 1
        for row in drafters
    ]
    if not rows:
        return []
    columns = [
        Column("task", "task", "text"),
        Column("drafter", "drafter", "text"),
        Column("session", "session", "text"),
        Column("tree", "its tree", "text"),
        Column("speedup", "x plain", digits=2),
        Column("speedup_ci", "90 %", digits=2),
    ]
    return [grid("drafters", "Drafters, the best of each task first", columns, rows)]


def _costs(advice: Advice) -> Grid:
    costs = advice.priced.costs
    columns = [Column("what", "what a round costs", "text"), Column("ms", "ms", digits=1)]
    rows: list[list[Cell]] = [
        [f"verifying {count} row{'s' if count > 1 else ''}", timing.median]
        for count, timing in costs.verify.items()
    ]
    rows += [
        [f"drafting {count} level{'s' if count > 1 else ''}", timing.median]
        for count, timing in costs.draft.items()
    ]
    rows.append(["the rest", costs.other.median])
    if costs.other_node:
        rows.append([f"the rest with {EXAMPLE} nodes", costs.other_ms(EXAMPLE)])
    return grid("costs", f"Costs, {advice.priced.source}", columns, rows)


def beyond(advice: Advice) -> list[str]:
    """A line about a tree that asks for more than was recorded, and how far it can be trusted; none without one."""
    if advice.larger is None:
        return []
    low, high = advice.larger.bounds
    return [
        f"{advice.larger.tree} may pay more still ({advice.larger.speedup.value:.2f} x plain), but asks for more than "
        f"was recorded: {advice.larger.tokens_per_round.value:.2f} tokens a round is extrapolated, and lies between "
        f"{low:.2f} and {high:.2f}. A run with it would tell."
    ]
