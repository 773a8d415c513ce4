"""Advice on trees: the one that pays for each task, from the replay of a session (`spectui advise`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from spectui.decoding.config import CHAIN_BESIDE, WITH_LOOKUP
from spectui.decoding.drafters.registry import kind_of
from spectui.decoding.errors import DecodingError
from spectui.decoding.trees.advise.acceptance_rates import calibration_of, rank_shares
from spectui.decoding.trees.advise.estimates import Estimate, Prompts
from spectui.decoding.trees.advise.judge import Judge, Judged, best_of, in_sample, out_of_fold
from spectui.decoding.trees.advise.positions import Positions, deepest, extent_of, positions_of, read_rounds
from spectui.decoding.trees.advise.prices import Priced, prices_of
from spectui.decoding.trees.advise.replay import Replay, replay
from spectui.decoding.trees.candidates import dynamic_trees, full_trees, static_trees, stopping_trees
from spectui.decoding.trees.shape import Shape, TreeShape
from spectui.decoding.trees.spec import parse_tree
from spectui.store.reading.columns import Ints
from spectui.store.reading.reader import Reader
from spectui.store.rows import SessionSummary

FEWEST_PROMPTS = 2
WORTH = 1.02
"""Gains below this are none: no prediction is that good."""

Progress = Callable[[float, float], None]
"""Called with the trees that have been replayed and the trees there are."""


@dataclass(frozen=True)
class TaskAdvice:
    """The tree that pays for one task, and its gains as ratios of tokens per second.

    Speed-up and gains are of trees chosen on other prompts, so that the luck of the choice is none.
    """

    task: str
    prompts: int
    best: Judged
    over_used: Estimate
    over_single: Estimate


@dataclass(frozen=True)
class DrafterAdvice:
    """The best tree of one recorded drafter for one task."""

    session: str
    drafter: str
    tree: str
    speedup: Estimate


@dataclass(frozen=True)
class Advice:
    """The advice on one session."""

    summary: SessionSummary
    priced: Priced
    tasks: tuple[TaskAdvice, ...]
    single: Judged
    used: Judged
    per_task_gain: Estimate
    """Tokens per second of a tree per task over those of the best single tree, chosen and judged on
    different prompts."""
    most_gain: Estimate
    """The same of trees chosen and judged on the same prompts: the luck of the choice is in it."""
    larger: Judged | None
    """The best tree that needs more than was recorded, where it promises more; its figures are extrapolated."""
    drafters: dict[str, tuple[DrafterAdvice, ...]]
    """By task, the best first."""

    @property
    def prompts(self) -> int:
        """Number of prompts that it rests on."""
        return sum(task.prompts for task in self.tasks)


def tree_per_task_pays(advice: Advice) -> bool:
    """True where the evidence says that a tree per task is faster than one for all, by so much that it is worth it."""
    return advice.per_task_gain.above_one and advice.per_task_gain.value >= WORTH


def one_tree_serves(advice: Advice) -> bool:
    """True where the evidence says that a tree per task gains nothing worth it: also not the trees that look best."""
    ends = [gain.most for gain in (advice.per_task_gain, advice.most_gain)]
    return all(end is not None and end < WORTH for end in ends)


def advise(reader: Reader, ref: int | str, progress: Progress = lambda done, total: None) -> Advice:
    """Weigh trees on a session. Raises `StoreError` without one, `DecodingError` when it holds too little for that."""
    summary = reader.session(ref)
    positions, priced = _read(reader, summary)
    advice = _advice(summary, positions, priced, _replays(positions, priced, summary, progress))
    return _with_drafters(reader, advice)


def _read(reader: Reader, summary: SessionSummary) -> tuple[Positions, Priced]:
    rounds = read_rounds(reader, summary.id)
    if not len(rounds.prompt) and summary.rounds:
        raise DecodingError(
            f"session '{summary.name}' has given up the rejected nodes of every prompt (--keep-nodes, or sessions "
            "prune): what other trees would have brought is no longer known; run some prompts again"
        )
    if len(rounds.length) < FEWEST_PROMPTS or not len(rounds.nodes.depth):
        what = "drafted nothing" if len(rounds.prompt) else "has no rounds yet"
        if len(rounds.prompt) and len(rounds.nodes.depth):
            what = "has rounds of one prompt alone, and it takes two (one more would do)"
        raise DecodingError(f"session '{summary.name}' {what}: there is nothing to weigh trees on")
    return positions_of(rounds), prices_of(summary, rounds)


def _replays(
    positions: Positions,
    priced: Priced,
    summary: SessionSummary,
    progress: Progress = lambda done, total: None,
) -> dict[str, Replay]:
    """Every tree that the session's drafter could have drafted, replayed, by name; the run's own, too, if it has a
    single name."""
    extent, groups = extent_of(positions), _groups(positions)
    kind = kind_of(summary.drafter.partition(WITH_LOOKUP)[0])
    dynamic = positions.has_probabilities and kind.probabilities and not has_drawn_nodes(summary)
    candidates = _candidates(positions, priced, _own_tree(summary.tree), groups, dynamic=dynamic)
    if kind.chains_only:
        candidates = [shape for shape in candidates if isinstance(shape, TreeShape) and shape.width == 1]
    trees = {shape.name: shape for shape in candidates}
    replays: dict[str, Replay] = {}
    total = float(len(trees) * 2 if dynamic else len(trees))

    def add(shapes: list[Shape]) -> None:
        for shape in shapes:
            replays[shape.name] = replay(positions, shape, priced.costs.round_ms, groups=groups)
            progress(min(len(replays), total), total)

    add(list(trees.values()))
    if dynamic:
        within = [r for r in replays.values() if not r.extrapolated] or list(replays.values())
        rate = max(float(r.tokens.sum() / r.ms.sum()) for r in within)
        calibration = calibration_of(positions)
        stopping = stopping_trees(extent, priced.costs, calibration.probability_of, calibration.onward, rate)
        further: list[Shape] = [shape for shape in stopping if shape.name not in trees]
        total = float(len(replays) + len(further))
        add(further)
    return replays


def _candidates(
    positions: Positions, priced: Priced, used: Shape | None, groups: Ints, *, dynamic: bool
) -> list[Shape]:
    """The trees to weigh, but for those that stop by themselves; the one in use first."""
    extent = extent_of(positions)
    shares = [rank_shares(positions)]
    shares += [rank_shares(positions, groups == group) for group in np.unique(groups)]
    return [
        *([used] if used else []),
        *full_trees(extent),
        *(dynamic_trees(extent) if dynamic else []),
        *static_trees(extent, [share.tolist() for share in shares], priced.costs),
    ]


def sampled(summary: SessionSummary) -> bool:
    """True where the text was sampled: it is one of many, and another tree would have drawn another."""
    temperature = summary.config.get("temperature", 0.0)
    return isinstance(temperature, int | float) and temperature > 0.0


def has_drawn_nodes(summary: SessionSummary) -> bool:
    """True where the draft's nodes were drawn, as those of a static tree are when sampling: they are not the likeliest
    ones, which a dynamic tree would have taken."""
    return sampled(summary) and isinstance(_own_tree(summary.tree), TreeShape)


def _own_tree(tree: str) -> Shape | None:
    """The drafter's part of a tree's name; None for a name that stands for several trees (`auto:FILE`)."""
    try:
        return parse_tree(tree.partition(CHAIN_BESIDE)[0])
    except DecodingError:
        return None


def _groups(positions: Positions) -> Ints:
    """``[P]``: the number of each prompt's task."""
    names = list(dict.fromkeys(positions.rounds.task))
    return np.array([names.index(task) for task in positions.rounds.task], dtype=np.int64)


def _advice(
    summary: SessionSummary, positions: Positions, priced: Priced, replays: dict[str, Replay]
) -> Advice:
    groups = _groups(positions)
    within = {name: r for name, r in replays.items() if not r.extrapolated} or replays
    every = np.ones(len(groups), dtype=np.bool_)
    single = within[best_of(within, every)]
    own_tree = _own_tree(summary.tree)
    used = replays.get(own_tree.name) if own_tree is not None else None
    used = used or _as_recorded(positions, priced, summary.tree)
    judge = Judge(within, priced, Prompts(groups.tolist()))
    of_task, of_all = out_of_fold(within, groups)
    tasks = []
    for group, task in enumerate(dict.fromkeys(positions.rounds.task)):
        members = groups == group
        best = within[best_of(within, members)]
        tasks.append(
            TaskAdvice(
                task,
                int(members.sum()),
                replace(judge.judged(best, group), speedup=judge.over_plain(of_task, group)),
                judge.gain(of_task, [used] * len(groups), group),
                judge.gain(of_task, judge.replays(of_all), group),
            )
        )
    beyond = {name: r for name, r in replays.items() if r.extrapolated}
    larger = beyond[best_of(beyond, every)] if beyond else None
    if larger is not None and judge.rate(larger) <= judge.rate(single) * 1.01:
        larger = None
    return Advice(
        summary=summary,
        priced=priced,
        tasks=tuple(tasks),
        single=replace(judge.judged(single, None), speedup=judge.over_plain(of_all, None)),
        used=judge.judged(used, None),
        per_task_gain=judge.gain(of_task, judge.replays(of_all), None),
        most_gain=judge.gain(*in_sample(within, groups), None, out_of_fold=False),
        larger=None if larger is None else judge.judged(larger, None),
        drafters={},
    )


def _as_recorded(positions: Positions, priced: Priced, tree: str) -> Replay:
    """The run as it was, whatever trees its rounds had, at the same prices as all others."""
    rounds = positions.rounds
    count, prompts = len(rounds.prompt), len(rounds.length)
    nodes, levels = np.bincount(rounds.nodes.round, minlength=count), deepest(rounds.nodes, count)
    each = [priced.costs.round_ms(int(n), int(d)) for n, d in zip(nodes, levels, strict=True)]
    number = np.bincount(rounds.prompt, minlength=prompts).astype(np.float64)
    return Replay(
        tree=tree,
        tokens=rounds.length.astype(np.float64),
        rounds=number,
        ms=np.bincount(rounds.prompt, weights=each, minlength=prompts).astype(np.float64),
        low_rounds=number,
        high_rounds=number,
        outside=0.0,
        nodes=float(nodes.mean()),
        levels=float(levels.mean()),
        deepest=float(levels.max()),
    )


def _with_drafters(reader: Reader, advice: Advice) -> Advice:
    """`advice` with what other drafters of the same target bring on the same tasks: the newest session of each."""
    summary = advice.summary
    by_task = {
        task.task: [DrafterAdvice(summary.name, summary.drafter, task.best.tree, task.best.speedup)]
        for task in advice.tasks
    }
    seen = {summary.drafter}
    for other in reader.sessions():
        if other.target != summary.target or other.drafter in seen or not other.nodes:
            continue
        if other.device != summary.device or not set(other.tasks) & set(by_task):
            continue
        seen.add(other.drafter)
        try:
            positions, priced = _read(reader, other)
            tasks = _advice(other, positions, priced, _replays(positions, priced, other)).tasks
        except DecodingError:
            continue
        for task in tasks:
            if task.task in by_task:
                by_task[task.task].append(
                    DrafterAdvice(other.name, other.drafter, task.best.tree, task.best.speedup)
                )
    ranked = {task: tuple(sorted(rows, key=lambda row: -row.speedup.value)) for task, rows in by_task.items()}
    return replace(advice, drafters=ranked)
