"""Populations of nodes on which a claim about task and depth is judged, counted by prompt.

At risk: the parent was accepted and the path not cut. All nodes, as the study counted, mix these with nodes below a
rejected one; there is one family at risk at depth 1 and seldom one at depth 3, so that depth stands for
"the parent was rejected". At risk, depth still stands for easy prompts, which get there more often; so each depth is
compared with the first one of the same prompt, in its other rounds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spectui.store.analysis.columns import Measured
from spectui.store.analysis.counts import Counts
from spectui.store.analysis.effects import Population, Sums
from spectui.store.analysis.trees import tree_ids
from spectui.store.reading.columns import Bools, Floats, Ints

AT_RISK, ALL, OFF_PATH = "at_risk", "all", "off_path"
ENOUGH = 0.95
"""The share of each task's rounds that must have the session's tree."""


@dataclass(frozen=True)
class Families:
    """Children of one parent each, at risk."""

    round: Ints
    depth: Ints
    matched: Floats
    """1 where a child (or the first alone) matches."""
    width: int
    """Nodes counted of each."""


def round_trees(data: Measured) -> Ints:
    """[R], an id shared by rounds of one tree; 0 for those without a node."""
    if data.tree is not None:
        return data.tree
    _, place, sizes = np.unique(data.family, return_inverse=True, return_counts=True)
    return tree_ids(
        data.node_round,
        (data.depth * 1_000_003 + data.rank) * 1_000_003 + sizes[place],
        len(data.round_prompt),
    )


def common_tree(data: Measured, task: Ints, tasks: tuple[str, ...]) -> Bools | str:
    """[R], the rounds of the tree that all tasks had; else why there is none. `task` [prompts]."""
    trees = round_trees(data)
    of_round = task[data.round_prompt]
    names, place = np.unique(trees, return_inverse=True)
    counts = np.zeros((len(tasks), len(names)))
    np.add.at(counts, (of_round, place), 1)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    best = int(np.argmax(share.min(axis=0)))
    if share[:, best].min() >= ENOUGH:
        return np.asarray(place == best)
    if (share.max(axis=1) >= ENOUGH).all():
        main_tree = share.argmax(axis=1)
        other = next(i for i in range(len(tasks)) if main_tree[i] != main_tree[0])
        return (
            f"{tasks[0]} and {tasks[other]} had different trees, which alone make them differ; "
            "run it with one tree for all tasks"
        )
    return (
        f"the tree ({data.summary.tree}) was not the same in all rounds, so that depth and task also stand for what it "
        "was chosen by; run it with a static tree, such as full:3x2"
    )


def families_at_risk(data: Measured, rounds: Bools) -> Families:
    """The families at risk in these rounds; where their sizes differ, the first child of each alone."""
    at = data.at_risk & rounds[data.node_round]
    _, first, place, sizes = np.unique(
        data.family[at], return_index=True, return_inverse=True, return_counts=True
    )
    owner, depth = data.node_round[at][first], data.depth[at][first]
    match, rank = data.match[at], data.rank[at]
    alike = len(sizes) > 0 and bool((sizes == sizes[0]).all())
    counted = np.ones(len(rank), np.bool_) if alike else rank == 0
    known = np.bincount(place, counted, len(first)) > 0
    matched = np.minimum(np.bincount(place, match & counted, len(first)), 1).astype(np.float64)
    return Families(owner[known], depth[known], matched[known], int(sizes[0]) if alike else 1)


def at_risk(counts: Counts, rounds: Bools) -> Population:
    """Nodes at risk, of a round of a prompt on average; prompts weigh equally."""
    data, task = counts.data, counts.task
    each_family = families_at_risk(data, rounds)
    prompts, depths, width = counts.prompts, data.max_depth, each_family.width
    owner = data.round_prompt[each_family.round]

    def grid(weights: Floats | None = None) -> Floats:
        flat = np.bincount(owner * depths + each_family.depth - 1, weights, prompts * depths)
        return flat.reshape(prompts, depths).astype(np.float64)

    first = np.zeros(len(data.round_prompt))
    at_first = each_family.depth == 1
    first[each_family.round[at_first]] = each_family.matched[at_first]
    families, matched, before = grid(), grid(each_family.matched), grid(first[each_family.round])
    per = families[:, :1]
    each = np.maximum(per, 1.0)
    seen = families.sum(axis=1) * (per[:, 0] > 0)
    hits = matched.sum(axis=1) * (per[:, 0] > 0)
    of_task = np.zeros((2, prompts, len(counts.tasks)))
    of_task[0, np.arange(prompts), task] = width * seen / each[:, 0]
    of_task[1, np.arange(prompts), task] = hits / each[:, 0]
    # Each depth against the first, in the other rounds of its prompt: their share is no part of what is compared.
    others = np.maximum(per - 1, 1.0)
    more = np.where(per > 1, matched - (families * matched[:, :1] - before) / others, 0.0)
    more[:, 0] = 0.0
    of_depth = np.where(per > 1, families, 0.0)
    weight, match = of_task
    mean = match.sum() / max(weight.sum(), 1e-300)
    known = weight.sum(axis=1) > 0
    residual = np.where(known, match.sum(axis=1) - mean * weight.sum(axis=1), np.nan)
    in_round = np.bincount(
        each_family.round, each_family.matched - mean * width, len(data.round_prompt)
    ).astype(np.float64)
    used = np.unique(each_family.round)
    return Population(
        int(width * len(each_family.depth)),
        Sums(weight, match),
        Sums(width * of_depth / each, more / each, beyond=True),
        residual,
        _variance_of_sums(in_round[used], data.round_prompt[used], prompts) / each[:, 0] ** 2,
    )


def plain(counts: Counts, nodes: Bools) -> Population:
    """Nodes as they are, those of one prompt weighing as much as those of any other."""
    data, task = counts.data, counts.task
    prompts, depths = counts.prompts, data.max_depth
    owner, depth = data.node_prompt[nodes], data.depth[nodes]
    place = owner * depths + depth - 1
    seen = np.bincount(place, None, prompts * depths).reshape(prompts, depths).astype(np.float64)
    hits = np.bincount(place, data.match[nodes], prompts * depths).reshape(prompts, depths)
    size = np.maximum(seen.sum(axis=1, keepdims=True), 1.0)
    seen, hits = seen / size, hits / size
    weight = np.zeros((prompts, len(counts.tasks)))
    match = np.zeros_like(weight)
    weight[np.arange(prompts), task] = seen.sum(axis=1)
    match[np.arange(prompts), task] = hits.sum(axis=1)
    known = seen.sum(axis=1) > 0
    beyond = data.match[nodes] - hits.sum(axis=1)[owner]
    in_round = np.bincount(data.node_round[nodes], beyond, len(data.round_prompt)).astype(np.float64)
    used = np.unique(data.node_round[nodes])
    return Population(
        int(nodes.sum()),
        Sums(weight, match),
        Sums(seen, hits),
        np.where(known, hits.sum(axis=1), np.nan),
        _variance_of_sums(in_round[used], data.round_prompt[used], prompts) / size[:, 0] ** 2,
    )


def _variance_of_sums(values: Floats, owner: Ints, prompts: int) -> Floats:
    """[prompts]: variance, by chance, of the sum of a prompt's `values` [rounds]; rounds vary alike in all prompts."""
    count = np.bincount(owner, minlength=prompts).astype(np.float64)
    mean = np.bincount(owner, values, prompts) / np.maximum(count, 1.0)
    free = float(np.maximum(count - 1, 0.0).sum())
    return count * (float(((values - mean[owner]) ** 2).sum()) / free if free else 0.0)
