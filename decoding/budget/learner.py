"""A tree for each task, learnt while the run goes on.

Every round tells what any part of its tree would have brought. Each task begins with the tree that the
profile and the measured costs expect to pay most, looks again every few rounds, and now and then drafts
the largest candidate, which shows what all others would have brought at that place. The output does not
depend on any of it: greedy decoding is exact for every tree, and when sampling the tree hangs on nothing that
the round in question draws.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from decoding.budget.prices import Priced
from decoding.budget.prior import Candidate
from decoding.tree import ROOT, DynamicShape, Shape, TokenTree, TreeShape

EVERY = 16
"""Rounds of a task between two looks at its tree."""
EXPLORE = 40
"""Every so many rounds the largest candidate is drafted: it costs half a round, so about a percent."""
PRIOR_ROUNDS = 60.0
"""Rounds that the expectation before the run weighs as much as."""
TASK_ROUNDS = 40.0
"""Rounds that what all tasks show weighs as much as, for one task."""
BETTER = 1.01
"""How much faster a tree must be expected to be before a task changes to it."""
SHOWN = 24
"""Rounds that must have shown what a tree brings before a task changes to it."""


@dataclass(frozen=True)
class Chosen:
    """The tree of the next round, and why."""

    shape: Shape
    kind: str
    """As `store.choices.CHOICE_KINDS`."""
    reason: str


@dataclass
class _Sums:
    """What a candidate brought over rounds that show it."""

    rounds: float = 0.0
    tokens: float = 0.0
    ms: float = 0.0


@dataclass
class _Task:
    current: str
    kind: str
    reason: str
    rounds: int = 0
    sums: dict[str, _Sums] = field(default_factory=dict)


class Learner:
    """Chooses and learns. `candidates` by name; their rounds cost what `priced` says."""

    def __init__(self, candidates: Mapping[str, Candidate], priced: Priced) -> None:
        self._candidates = dict(candidates)
        self._priced = priced
        self._sums = {name: _Sums() for name in candidates}
        self._tasks: dict[str, _Task] = {}
        self._rounds = 0
        known = {name: c for name, c in candidates.items() if c.known}
        self._first = max(known, key=lambda name: known[name].rate)
        self._largest = max(known, key=lambda name: (known[name].shape.size, known[name].shape.max_depth))

    def next(self, task: str) -> Chosen:
        """The tree of the task's next round."""
        state = self._task(task)
        if self._rounds % EXPLORE == EXPLORE - 1 and self._largest != state.current:
            reason = "shows what every smaller tree would have brought"
            return Chosen(self._candidates[self._largest].shape, "explore", reason)
        return Chosen(self._candidates[state.current].shape, state.kind, state.reason)

    def observe(self, task: str, tree: TokenTree, path: Sequence[int], shape: Shape, *, cut: bool) -> None:
        """Learn from a round that was drafted with `shape`; every few rounds, choose the task's tree anew."""
        state = self._task(task)
        self._rounds += 1
        state.rounds += 1
        if tree.size and not cut:
            seen = _Seen(tree, path, shape)
            for name, candidate in self._candidates.items():
                shown = seen.shown(candidate.shape)
                if shown is not None:
                    accepted, nodes, levels = shown
                    ms = self._priced.ms(nodes, levels)
                    for sums in (self._sums[name], state.sums.setdefault(name, _Sums())):
                        sums.rounds += 1.0
                        sums.tokens += 1.0 + accepted
                        sums.ms += ms
        if state.rounds % EVERY == 0:
            self._look_again(state)

    def expected(self, task: str, name: str) -> float:
        """Tokens per millisecond that a tree is expected to bring to a task."""
        candidate, pooled = self._candidates[name], self._sums[name]
        own = self._task(task).sums.get(name, _Sums())
        prior = PRIOR_ROUNDS if candidate.known else 1e-9
        weight = prior + pooled.rounds
        tokens = (prior * candidate.tokens + pooled.tokens) / weight
        ms = (prior * candidate.ms + pooled.ms) / weight
        return (TASK_ROUNDS * tokens + own.tokens) / (TASK_ROUNDS * ms + own.ms)

    def _look_again(self, state: _Task) -> None:
        task = next(name for name, known in self._tasks.items() if known is state)
        rates = {
            name: self.expected(task, name)
            for name in self._candidates
            if self._sums[name].rounds >= SHOWN or name == state.current
        }
        best = max(rates, key=lambda name: rates[name])
        gain = rates[best] / rates[state.current]
        if best != state.current and gain > BETTER:
            shown = int(self._sums[best].rounds)
            state.reason = (
                f"{gain:.2f}x as fast as {state.current}, expected from {state.rounds} rounds of the task and {shown} "
                "that show the tree"
            )
            state.current, state.kind = best, "learned"

    def _task(self, task: str) -> _Task:
        if task not in self._tasks:
            reason = (
                f"expected to pay most on this machine: {1e3 * self._candidates[self._first].rate:.0f} tok/s"
            )
            self._tasks[task] = _Task(self._first, "prior", reason)
        return self._tasks[task]


class _Seen:
    """A round, asked what parts of its tree would have brought."""

    def __init__(self, tree: TokenTree, path: Sequence[int], shape: Shape) -> None:
        self._depth = tree.depth.tolist()
        self._rank = tree.rank.tolist()
        self._path = list(path)
        self._children: dict[int, int] = {}
        parents = tree.parent.tolist()
        for parent in parents:
            self._children[parent] = self._children.get(parent, 0) + 1
        self._limit = shape.max_depth
        self._order: list[int] = []
        logprob = tree.draft_logprob.tolist()
        if not any(math.isnan(value) for value in logprob):
            reach: list[float] = []
            for node, parent in enumerate(parents):
                reach.append(logprob[node] + (0.0 if parent == ROOT else reach[parent]))
            self._order = sorted(range(tree.size), key=lambda i: (-reach[i], self._depth[i]))
            self._reach = [math.exp(value) for value in reach]
            whole = isinstance(shape, DynamicShape) and shape.floor == 0.0
            self._horizon = min(self._reach) if whole else 1.0

    def shown(self, shape: Shape) -> tuple[int, int, int] | None:
        """Accepted nodes, nodes and levels of `shape` in this round; None where the round does not show it."""
        return self._static(shape) if isinstance(shape, TreeShape) else self._dynamic(shape)

    def _dynamic(self, shape: DynamicShape) -> tuple[int, int, int] | None:
        if not self._order or shape.max_depth > self._limit:
            return None
        levels = self._levels(shape)
        kept: set[int] = set()
        for node in self._order:
            if self._depth[node] <= levels and len(kept) < shape.size:
                if len(kept) >= shape.least and self._reach[node] < shape.floor:
                    break
                kept.add(node)
        missing = len(kept) < shape.size and (len(kept) < shape.least or shape.floor < self._horizon)
        if missing:
            return None
        return sum(node in kept for node in self._path), len(kept), levels

    def _levels(self, shape: DynamicShape) -> int:
        if shape.stop == 0.0:
            return shape.max_depth
        for level in range(1, shape.max_depth):
            within = [i for i in self._order if self._depth[i] <= level][: shape.size]
            frontier = [i for i in within if self._depth[i] == level][: shape.frontier]
            if sum(self._reach[i] for i in frontier) < shape.stop:
                return level
        return shape.max_depth

    def _static(self, shape: TreeShape) -> tuple[int, int, int] | None:
        at, accepted = ROOT, 0
        table = _children_of(shape)
        for node in self._path:
            child = table.get((at, self._rank[node]))
            if child is None:
                return accepted, shape.size, shape.max_depth
            at, accepted = child, accepted + 1
        end = self._path[-1] if self._path else ROOT
        wanted = sum(1 for parent, _ in table if parent == at)
        if wanted > self._children.get(end, 0):
            return None
        return accepted, shape.size, shape.max_depth


_TABLES: dict[str, dict[tuple[int, int], int]] = {}


def _children_of(shape: TreeShape) -> dict[tuple[int, int], int]:
    """Child by parent and rank."""
    if shape.name not in _TABLES:
        pairs = zip(shape.parent.tolist(), shape.rank.tolist(), strict=True)
        _TABLES[shape.name] = {pair: node for node, pair in enumerate(pairs)}
    return _TABLES[shape.name]
