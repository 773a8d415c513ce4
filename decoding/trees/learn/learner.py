"""A tree for each task, learnt while the run goes on.

Every round tells what any part of its tree would have taken for the same tokens (`subtree_replay`). What is
learnt is how many rounds a tree takes for each round of the smallest one, over rounds that show both: text
that is easy or hard is so for both. Each task begins with the tree that the profile and the measured
costs expect to pay most, looks again every few rounds, and now and then, ever more rarely, drafts a tree that is
large enough to show those that may pay as well, or what trees of another size cost. Costs follow the rounds
(`decoding.trees.learn.pace`).

The output does not depend on any of it: greedy decoding is exact for every tree, and when sampling the tree
hangs on nothing that the round in question draws.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from spectui.decoding.trees.advise.prices import Priced
from spectui.decoding.trees.learn.pace import Pace
from spectui.decoding.trees.learn.prior import Candidate
from spectui.decoding.trees.learn.subtree_replay import Seen, covers
from spectui.decoding.trees.shape import DynamicShape, Shape, TokenTree
from spectui.decoding.trees.spec import dynamic_shape

EVERY = 16
"""Rounds of a task between two looks at its tree."""
EXPLORE = 32
"""Rounds between two that show larger trees; later a share of `RARER` of all rounds."""
EARLY, EAGER = 128, 8
"""So many rounds of a run have one that explores after so many: costs measured before it may be far off."""
RARER = 32
CONTENDS = 0.95
"""A tree that is expected to bring this share of the best rate may be better: its parts are looked at."""
TASK_ROUNDS = 300.0
"""Rounds that what all tasks show weighs as much as, for one task."""
BETTER = 1.015
"""How much faster a tree must be expected to be before a task changes to it, when `DOUBTS` standard errors of that are
taken off: of forty trees some look better than they are."""
DOUBTS = 1.0
"""With none noise changes trees for nothing, with two too little is learnt (`tests.bench.auto_regret`)."""


@dataclass(frozen=True)
class Chosen:
    """The tree of the next round, and why."""

    shape: Shape
    kind: str
    """As `store.reading.choices.TreeChoice.kind`."""
    reason: str


@dataclass
class _Sums:
    """What a candidate took over the rounds that show it, and what the smallest took for the same tokens."""

    rounds: float = 0.0
    smallest: float = 0.0


@dataclass
class _Task:
    current: str
    kind: str
    reason: str
    rounds: int = 0
    tokens: float = 0.0
    sums: dict[str, _Sums] = field(default_factory=dict)
    probe: Shape | None = None
    """What shows those that may pay as well, or else what nodes cost; None where there is but one size."""


class Learner:
    """Chooses and learns. `candidates` by name; their rounds cost what `priced` says until rounds say otherwise."""

    def __init__(self, candidates: Mapping[str, Candidate], priced: Priced) -> None:
        self._candidates = dict(candidates)
        self._pace = Pace(priced.costs)
        self._most = max(max(priced.costs.verify) - 1, 1)
        self._sums = {name: _Sums() for name in candidates}
        self._tasks: dict[str, _Task] = {}
        self._rounds = self._explored = 0
        self._tokens = 0.0
        self._smallest = min(candidates, key=lambda name: (candidates[name].shape.size, name))
        self._first = max(candidates, key=lambda name: candidates[name].rate)
        self._shows: dict[str, list[str]] = {}

    @property
    def pace(self) -> list[float]:
        """What drafting, verifying, the rest, and nodes in verifying take, as shares of what was measured before."""
        return [*self._pace.factors, self._pace.slope]

    def next(self, task: str) -> Chosen:
        """The tree of the task's next round."""
        state = self._task(task)
        between = EAGER if self._rounds < EARLY else max(EXPLORE, self._rounds // RARER)
        if self._rounds - self._explored >= between and state.probe is not None:
            return Chosen(state.probe, "explore", "shows what larger and smaller trees would have brought")
        return Chosen(self._candidates[state.current].shape, state.kind, state.reason)

    def observe(
        self, task: str, tree: TokenTree, path: Sequence[int], shape: Shape, *, cut: bool,
        took: tuple[float, float, float] | None = None,
    ) -> None:  # fmt: skip
        """Learn from a round that was drafted with `shape` and `took` so many milliseconds to draft, to verify and
        for the rest; every few rounds, choose the task's tree anew."""
        state = self._task(task)
        self._rounds += 1
        state.rounds += 1
        if shape is state.probe:
            self._explored = self._rounds
        seen = Seen(tree, path)
        # A round without the draft's probabilities was not drafted by what dynamic trees are grown from.
        if tree.size and (seen.likely or not isinstance(shape, DynamicShape)):
            if took is not None:
                self._pace.observe(tree.size, shape.max_depth, took)
            if not cut:
                self._count(state, seen, shape)
        if state.rounds % EVERY == 0:
            self._look_again(task, state)

    def expected(self, task: str, name: str) -> float:
        """Tokens per millisecond that a tree is expected to bring to a task."""
        smallest = self._candidates[self._smallest]
        own = self._task(task)
        tokens = _mixed(smallest.tokens, smallest.weight, self._tokens, self._sums[self._smallest].rounds)
        mine = own.sums.get(self._smallest, _Sums())
        tokens = _mixed(tokens, TASK_ROUNDS, own.tokens, mine.rounds)
        shape = self._candidates[name].shape
        return tokens / (self._share(own, name) * self._pace.ms(shape.size, shape.max_depth))

    def _share(self, own: _Task, name: str) -> float:
        """Rounds of a tree for each of the smallest."""
        candidate, pooled = self._candidates[name], self._sums[name]
        before = self._candidates[self._smallest].tokens / candidate.tokens
        share = _mixed(before, candidate.weight, pooled.rounds, pooled.smallest)
        mine = own.sums.get(name, _Sums())
        return _mixed(share, TASK_ROUNDS, mine.rounds, mine.smallest)

    def _count(self, state: _Task, seen: Seen, shape: Shape) -> None:
        """What each tree that the round shows would have taken for its tokens."""
        smallest = self._candidates[self._smallest]
        reference = seen.shown(smallest.shape, smallest.tokens)
        if reference is None:
            return
        self._tokens += seen.tokens
        state.tokens += seen.tokens
        for name in self._shown_by(shape):
            candidate = self._candidates[name]
            rounds = reference if name == self._smallest else seen.shown(candidate.shape, candidate.tokens)
            if rounds is not None:
                for sums in (self._sums[name], state.sums.setdefault(name, _Sums())):
                    sums.rounds += rounds
                    sums.smallest += reference

    def _shown_by(self, shape: Shape) -> list[str]:
        if shape.name not in self._shows:
            self._shows[shape.name] = [
                name
                for name, candidate in self._candidates.items()
                if name in (shape.name, self._smallest) or covers(shape, candidate.shape)
            ]
        return self._shows[shape.name]

    def _look_again(self, task: str, state: _Task) -> None:
        rates = {name: self.expected(task, name) for name in self._candidates}
        sure = {name: rate / (1.0 + DOUBTS * self._doubt(state, name)) for name, rate in rates.items()}
        best = max(sure, key=lambda name: sure[name])
        if sure[best] > BETTER * rates[state.current]:
            gain = rates[best] / rates[state.current]
            state.reason = (
                f"{100 * (gain - 1):.0f} % faster than {state.current}: {1e3 * rates[best]:.0f} against "
                f"{1e3 * rates[state.current]:.0f} tok/s expected after {state.rounds} rounds of the task"
            )
            state.current, state.kind = best, "learned"
        self._consider(state, rates)

    def _doubt(self, state: _Task, name: str) -> float:
        """Standard error, as a share, of how much faster than the task's tree another is.

        Of the rounds that both were seen on, about as many show a difference as the two differ by, and their number
        varies as counts do. Costs differ by what nodes add, which is known as well as `Pace` has seen it.
        """
        pair = [self._candidates[each] for each in (state.current, name)]
        sizes = [candidate.shape.size for candidate in pair]
        costs = self._pace.error(*sizes) / self._pace.ms(sizes[0], pair[0].shape.max_depth)
        shares = [self._share(state, each) for each in (state.current, name)]
        seen = min(
            candidate.weight + self._sums[each].smallest
            for each, candidate in zip((state.current, name), pair, strict=True)
        )
        return math.hypot(costs, math.sqrt(abs(shares[0] - shares[1]) / seen) / min(shares))

    def _consider(self, state: _Task, rates: Mapping[str, float]) -> None:
        """What has to be drafted to see all that may pay, and what it would cost."""
        shown = self._shown_by(self._candidates[state.current].shape)
        enough = CONTENDS * max(rates.values())
        unseen = [
            self._candidates[name].shape for name in rates if rates[name] >= enough and name not in shown
        ]
        current = self._candidates[state.current].shape
        state.probe = self._covering([*unseen, current]) if unseen else self._other_size(current, rates)

    def _other_size(self, current: Shape, rates: Mapping[str, float]) -> Shape | None:
        """The best tree of twice the nodes, or of half as many: other sizes show what nodes cost. Mostly it is a
        smaller one, which hardly costs anything."""
        shapes = {name: candidate.shape for name, candidate in self._candidates.items()}
        others = [
            name
            for name in rates
            if shapes[name].size >= max(2 * current.size, current.size + 3)
            or 2 * shapes[name].size <= current.size
        ]
        return shapes[max(others, key=lambda name: rates[name])] if others else None

    def _covering(self, shapes: Sequence[Shape]) -> Shape:
        """A tree that shows all of `shapes`, or the largest of them."""
        if any(not isinstance(shape, DynamicShape) for shape in shapes):
            return max(shapes, key=lambda shape: shape.size)
        depth = max(shape.max_depth for shape in shapes)
        size = min(max(shape.size + depth - shape.max_depth for shape in shapes), self._most)
        return dynamic_shape(size, depth)

    def _task(self, task: str) -> _Task:
        if task not in self._tasks:
            first = self._candidates[self._first]
            reason = f"expected to pay most on this machine: {1e3 * first.rate:.0f} tok/s"
            state = self._tasks[task] = _Task(self._first, "prior", reason)
            self._consider(state, {name: candidate.rate for name, candidate in self._candidates.items()})
        return self._tasks[task]


def _mixed(before: float, weight: float, over: float, under: float) -> float:
    """A share that was expected to be `before`, with `over` / `under` counted since."""
    return (weight * before + over) / (weight + under)
