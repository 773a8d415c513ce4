"""Which tree pays for which task, by replaying a session: what `spectui advise` says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from spectui.decoding.config import CHAIN_BESIDE, WITH_LOOKUP
from spectui.decoding.drafters.registry import kind_of
from spectui.decoding.errors import DecodingError
from spectui.decoding.trees.advise.acceptance_rates import calibration_of, rank_shares
from spectui.decoding.trees.advise.estimates import Estimate, Prompts
from spectui.decoding.trees.advise.positions import Walks, extent_of, read_rounds, walks_of
from spectui.decoding.trees.advise.prices import Priced, prices_of
from spectui.decoding.trees.advise.replay import Replay
from spectui.decoding.trees.advise.replay import replay as replay_tree
from spectui.decoding.trees.candidates import (
    Candidate,
    RoundKind,
    choose,
    dynamic_trees,
    full_trees,
    static_trees,
    stopping_trees,
)
from spectui.decoding.trees.shape import Shape, TreeShape
from spectui.decoding.trees.spec import parse_tree
from spectui.store.reading.columns import Bools, Floats, Ints
from spectui.store.reading.reader import Reader
from spectui.store.rows import SessionSummary

FOLDS = 5
"""Parts that prompts are dealt to: a tree is chosen on all others and judged on one, so that the luck of the
choice is no gain."""
FEWEST_PROMPTS = 2

Tell = Callable[[float, float], None]


@dataclass(frozen=True)
class Judged:
    """A tree on some prompts: what it brings and gains. Speed-ups are over decoding one token at a time."""

    tree: str
    tokens_per_round: Estimate
    """Its interval is that of what as many other prompts would show."""
    speedup: Estimate
    bounds: tuple[float, float]
    """Tokens per round if all, or nothing, of what was not recorded were accepted."""


@dataclass(frozen=True)
class TaskAdvice:
    """One task: the tree that pays, and its gains as ratios of tokens per second.

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
    """All of it."""

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
    """The best tree that asks for more than was recorded, where it promises more; its figures are extrapolated."""
    drafters: dict[str, tuple[DrafterAdvice, ...]]
    """By task, the best first."""
    replays: dict[str, Replay]
    """Every tree that was weighed."""
    task_of: tuple[str, ...]
    """``[P]``"""


def advise(reader: Reader, ref: int | str, tell: Tell = lambda done, total: None) -> Advice:
    """Weigh trees on a session. Raises `StoreError` without one, `DecodingError` when it says too little."""
    summary = reader.session(ref)
    walks, priced = _walks(reader, summary)
    weighed = weigh(walks, priced, summary, tell)
    found = _advice(summary, walks, priced, weighed)
    return _with_drafters(reader, found)


def _walks(reader: Reader, summary: SessionSummary) -> tuple[Walks, Priced]:
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
    return walks_of(rounds), prices_of(summary, rounds)


def weigh(
    walks: Walks, priced: Priced, summary: SessionSummary, tell: Tell = lambda done, total: None
) -> dict[str, Replay]:
    """Replay every tree that the session's drafter could have drafted; by name. The run's own is weighed too if it
    has a single name."""
    extent = extent_of(walks)
    groups = _groups(walks)
    used = _known(summary.tree)
    kind = kind_of(summary.drafter.partition(WITH_LOOKUP)[0])
    dynamic = walks.likely and kind.probabilities and not drawn(summary)
    candidates: list[Shape] = [*([used] if used else []), *full_trees(extent)]
    if dynamic:
        candidates += dynamic_trees(extent)
    shares = [rank_shares(walks)] + [rank_shares(walks, groups == g) for g in np.unique(groups)]
    candidates += static_trees(extent, [share.tolist() for share in shares], priced.costs)
    if kind.chains_only:
        candidates = [shape for shape in candidates if isinstance(shape, TreeShape) and shape.width == 1]
    trees = {shape.name: shape for shape in candidates}
    found: dict[str, Replay] = {}
    total = float(len(trees) * 2 if dynamic else len(trees))

    def run(shapes: list[Shape]) -> None:
        for shape in shapes:
            found[shape.name] = replay_tree(walks, shape, priced.ms, groups=groups)
            tell(min(len(found), total), total)

    run(list(trees.values()))
    if dynamic:
        within = [r for r in found.values() if not r.extrapolated] or list(found.values())
        rate = max(float(r.tokens.sum() / r.ms.sum()) for r in within)
        rates = calibration_of(walks)
        stops: list[Shape] = [*stopping_trees(extent, priced.costs, rates.probability_of, rates.onward, rate)]
        stops = [shape for shape in stops if shape.name not in trees]
        total = float(len(found) + len(stops))
        run(stops)
    return found


def sampled(summary: SessionSummary) -> bool:
    """Whether the text was sampled: it is one of many, and another tree would have drawn another."""
    temperature = summary.config.get("temperature", 0.0)
    return isinstance(temperature, int | float) and temperature > 0.0


def drawn(summary: SessionSummary) -> bool:
    """Whether the draft's nodes were drawn, as those of a static tree are when sampling: they are not the likeliest
    ones, which a dynamic tree would have taken."""
    return sampled(summary) and isinstance(_known(summary.tree), TreeShape)


def _known(tree: str) -> Shape | None:
    """The drafter's own part of a tree's name; None for the name of many (`auto`)."""
    try:
        return parse_tree(tree.partition(CHAIN_BESIDE)[0])
    except DecodingError:
        return None


def _groups(walks: Walks) -> Ints:
    names = list(dict.fromkeys(walks.rounds.task))
    return np.array([names.index(task) for task in walks.rounds.task], dtype=np.int64)


def best_of(replays: dict[str, Replay], chosen: Bools) -> str:
    """The tree of most tokens per millisecond on the prompts `chosen` (``[P]`` booleans), or the smallest of
    those within `SLACK` of it."""
    candidates = [
        Candidate(r.nodes, r.levels, float(r.tokens[chosen].sum()), float(r.ms[chosen].sum()), name)
        for name, r in replays.items()
    ]
    return choose([RoundKind(1.0, candidates)]).candidates[0].name


def _advice(summary: SessionSummary, walks: Walks, priced: Priced, weighed: dict[str, Replay]) -> Advice:
    groups = _groups(walks)
    names = list(dict.fromkeys(walks.rounds.task))
    prompts = Prompts(groups.tolist())
    within = {name: r for name, r in weighed.items() if not r.extrapolated} or weighed
    every = np.ones(len(groups), dtype=np.bool_)
    single = best_of(within, every)
    used_name = getattr(_known(summary.tree), "name", "")
    used = weighed.get(used_name) or _as_recorded(walks, priced, summary.tree)
    judge = _Judge(within, priced, prompts)
    own, one = _out_of_fold(within, groups)
    tasks = []
    for group, task in enumerate(names):
        mine = groups == group
        best = within[best_of(within, mine)]
        tasks.append(
            TaskAdvice(
                task,
                int(mine.sum()),
                replace(judge(best, group), speedup=judge.over_plain(own, group)),
                judge.gain(own, [used] * len(groups), group),
                judge.gain(own, judge.replays(one), group),
            )
        )
    beyond = {name: r for name, r in weighed.items() if r.extrapolated}
    larger = None
    if beyond:
        name = best_of(beyond, every)
        if judge.rate(beyond[name]) > judge.rate(within[single]) * 1.01:
            larger = judge(beyond[name], None)
    return Advice(
        summary=summary,
        priced=priced,
        tasks=tuple(tasks),
        single=replace(judge(within[single], None), speedup=judge.over_plain(one, None)),
        used=judge(used, None),
        per_task_gain=judge.gain(own, judge.replays(one), None),
        most_gain=judge.gain(*_in_sample(within, groups), None),
        larger=larger,
        drafters={},
        replays=weighed,
        task_of=walks.rounds.task,
    )


class _Judge:
    """Puts figures and intervals to replayed trees. A choice is the name of each prompt's tree."""

    def __init__(self, within: dict[str, Replay], priced: Priced, prompts: Prompts) -> None:
        self._within = within
        self._priced = priced
        self._prompts = prompts

    def __call__(self, found: Replay, only: int | None) -> Judged:
        chosen = np.ones(len(found.tokens), dtype=np.bool_) if only is None else self._prompts.members(only)
        tokens = float(found.tokens[chosen].sum())
        return Judged(
            found.tree,
            self._prompts.ratio([(found.tokens, found.rounds)], only=only, new_prompts=True),
            self._over_plain([found] * len(found.tokens), only),
            (
                tokens / max(float(found.high_rounds[chosen].sum()), 1.0),
                tokens / max(float(found.low_rounds[chosen].sum()), 1.0),
            ),
        )

    def over_plain(self, choice: Sequence[str], only: int | None) -> Estimate:
        """Tokens per second over decoding one at a time."""
        return self._over_plain([self._within[name] for name in choice], only)

    def _over_plain(self, replays: Sequence[Replay], only: int | None) -> Estimate:
        tokens, ms = _columns(replays)
        plain = self._priced.factors(0, 0) - self._costs(replays, only)
        return self._prompts.ratio(
            [(tokens * self._priced.plain_ms, ms)], only=only, costs=float(plain.std())
        )

    def gain(self, choice: Sequence[str], others: Sequence[Replay], only: int | None) -> Estimate:
        """Tokens per second over those of `others`, one of each prompt, on the same prompts."""
        mine = [self._within[name] for name in choice]
        (tokens, ms), (other_tokens, other_ms) = _columns(mine), _columns(others)
        costs = self._costs(others, only) - self._costs(mine, only)
        return self._prompts.ratio(
            [(tokens, ms), (other_ms, other_tokens)], only=only, costs=float(costs.std())
        )

    def rate(self, found: Replay) -> float:
        """Tokens per millisecond."""
        return float(found.tokens.sum() / found.ms.sum())

    def replays(self, choice: Sequence[str]) -> list[Replay]:
        """Those of a choice."""
        return [self._within[name] for name in choice]

    def _costs(self, replays: Sequence[Replay], only: int | None) -> Floats:
        """``[DRAWS]``: the logarithm of what all their rounds together may cost over what they are taken to."""
        chosen = range(len(replays)) if only is None else np.flatnonzero(self._prompts.members(only)).tolist()
        ms: dict[tuple[float, float], float] = {}
        for place in chosen:
            found = replays[place]
            ms[found.nodes, found.levels] = ms.get((found.nodes, found.levels), 0.0) + float(found.ms[place])
        total = sum(ms.values())
        drawn = sum((share / total) * np.exp(self._priced.factors(*size)) for size, share in ms.items())
        return np.asarray(np.log(drawn))


def _columns(replays: Sequence[Replay]) -> tuple[Floats, Floats]:
    """Tokens and milliseconds of each prompt by its own tree."""
    places = range(len(replays))
    return (
        np.array([replays[place].tokens[place] for place in places]),
        np.array([replays[place].ms[place] for place in places]),
    )


def _as_recorded(walks: Walks, priced: Priced, tree: str) -> Replay:
    """The run as it was, whatever trees its rounds had, at the same prices as all others."""
    rounds = walks.rounds
    count = len(rounds.prompt)
    nodes = np.bincount(rounds.nodes.round, minlength=count).astype(np.int64)
    levels = np.zeros(count, dtype=np.int64)
    np.maximum.at(levels, rounds.nodes.round, rounds.nodes.depth)
    each = np.array([priced.ms(int(n), int(d)) for n, d in zip(nodes, levels, strict=True)])
    prompts = len(rounds.length)
    number = np.bincount(rounds.prompt, minlength=prompts).astype(np.float64)
    ms = np.bincount(rounds.prompt, weights=each, minlength=prompts).astype(np.float64)
    tokens = rounds.length.astype(np.float64)
    return Replay(
        tree=tree,
        tokens=tokens,
        rounds=number,
        ms=ms,
        low_rounds=number,
        high_rounds=number,
        outside=0.0,
        nodes=float(nodes.mean()),
        levels=float(levels.mean()),
    )


def _out_of_fold(within: dict[str, Replay], groups: Ints) -> tuple[list[str], list[str]]:
    """Each prompt's tree by what other prompts say: that of its task, and one for all."""
    prompts = len(groups)
    own, single = [""] * prompts, [""] * prompts
    fold = np.zeros(prompts, dtype=np.int64)
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        fold[members] = np.arange(len(members)) % FOLDS
    for part in np.unique(fold):
        others, here = fold != part, fold == part
        if not others.any():
            others = here
        one = best_of(within, others)
        for group in np.unique(groups[here]):
            learnt_from = others & (groups == group)
            name = best_of(within, learnt_from) if learnt_from.any() else one
            for place in np.flatnonzero(here & (groups == group)):
                own[place], single[place] = name, one
    return own, single


def _with_drafters(reader: Reader, found: Advice) -> Advice:
    """Add what other drafters of the same target bring on the same tasks: the newest session of each."""
    mine = found.summary
    by_task: dict[str, list[DrafterAdvice]] = {}
    for task in found.tasks:
        by_task[task.task] = [DrafterAdvice(mine.name, mine.drafter, task.best.tree, task.best.speedup)]
    seen = {mine.drafter}
    for other in reader.sessions():
        if other.target != mine.target or other.drafter in seen or not other.nodes:
            continue
        if other.device != mine.device or not set(other.tasks) & set(by_task):
            continue
        seen.add(other.drafter)
        try:
            walks, priced = _walks(reader, other)
            theirs = _advice(other, walks, priced, weigh(walks, priced, other))
        except DecodingError:
            continue
        for task in theirs.tasks:
            if task.task in by_task:
                by_task[task.task].append(
                    DrafterAdvice(other.name, other.drafter, task.best.tree, task.best.speedup)
                )
    ranked = {task: tuple(sorted(rows, key=lambda row: -row.speedup.value)) for task, rows in by_task.items()}
    return replace(found, drafters=ranked)


def _in_sample(within: dict[str, Replay], groups: Ints) -> tuple[list[str], list[Replay]]:
    """Each prompt's tree by what all prompts say: that of its task, and one for all."""
    own = {group: best_of(within, groups == group) for group in np.unique(groups).tolist()}
    single = within[best_of(within, np.ones(len(groups), dtype=np.bool_))]
    return [own[group] for group in groups.tolist()], [single] * len(groups)


WORTH = 1.02
"""Gains below this are none: no prediction is that good."""


def tree_per_task_pays(found: Advice) -> bool:
    """Whether the evidence says that a tree per task is faster than one for all, by so much that it is worth it."""
    gain = found.per_task_gain
    return gain.above_one and gain.value >= WORTH


def one_tree_serves(found: Advice) -> bool:
    """Whether the evidence says that a tree per task brings nothing worth it: also not the trees that look best."""
    ends = [gain.most for gain in (found.per_task_gain, found.most_gain)]
    return all(end is not None and end < WORTH for end in ends)
