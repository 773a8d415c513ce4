"""Which static tree pays: the one with the most tokens per second under measured costs. Torch-free.

Rounds are of one or more kinds (a lookup match is there or it is not), each with candidate trees. The
rate is the ratio of two means over rounds, tokens by milliseconds, and Dinkelbach's method maximises
it: under a rate every kind takes what is worth most, tokens - rate * milliseconds, which gives the next
rate, until it stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from spectui.decoding.trees.costs import Costs
from spectui.decoding.trees.profile import Profile
from spectui.decoding.trees.search import TreeSearch
from spectui.decoding.trees.spec import parse_tree

MOST_DEPTH = 12
"""Deeper levels bring less than a hundredth of a token with any drafter here."""

SLACK = 0.01
"""Of trees whose rate is within 1 % of the best the smallest is taken: the optimum is flat, the profile an
estimate, and the choice should not change with the noise of a measurement."""


@dataclass(frozen=True)
class Candidate:
    """A tree with what a round of it brings and costs."""

    nodes: int
    depth: int
    tokens: float
    ms: float
    name: str = ""
    """Empty where the tree is the best one of its size and depth."""


@dataclass(frozen=True)
class Kind:
    """A share of the rounds, and the trees they may draft."""

    share: float
    candidates: Sequence[Candidate]


@dataclass(frozen=True)
class Choice:
    """One candidate per kind, and the rate they reach together."""

    candidates: tuple[Candidate, ...]
    tokens_per_second: float


def best_tree(
    profile: Profile, costs: Costs, beside: Profile | None = None, *, dynamic: bool = False
) -> tuple[str, Choice]:
    """The tree for a drafter of `profile`, by the name that `RunConfig.tree` takes.

    The whole trees that the profile knows, or else any that is no larger than what was timed. With
    `dynamic` its size and depth are kept, but its nodes are left to each round's probabilities (EAGLE-2,
    arXiv 2406.16858), which bring no less than what is best on average. `beside` is the profile of the
    lookup that has its share of the rounds instead; its chain is the second part of the name.
    """
    options = [_options(profile, costs, dynamic=dynamic)]
    kinds = [Kind(profile.rounds, options[0].priced)]
    if profile.rounds < 1.0:
        kinds.append(Kind(1.0 - profile.rounds, [Candidate(0, 0, 1.0, costs.round_ms(0, 0))]))
    if beside is not None:
        kinds = [Kind((1.0 - beside.rounds) * kind.share, kind.candidates) for kind in kinds]
        # Looking up takes no model, so its levels are free.
        options.append(_options(beside, replace(costs, draft={})))
        kinds.append(Kind(beside.rounds, options[-1].priced))
    choice = choose(kinds)
    names = [options[0].name(choice.candidates[0])]
    if beside is not None:
        names.append(options[-1].name(choice.candidates[-1]))
    return "+".join(names), choice


@dataclass(frozen=True)
class _Options:
    """The trees of a profile, priced, and the search that some came from."""

    priced: list[Candidate]
    search: TreeSearch | None
    dynamic: bool

    def name(self, candidate: Candidate) -> str:
        """Of one of `priced`; a tree that never branches is called a chain."""
        if candidate.name or self.search is None:
            return candidate.name
        if self.dynamic:
            return f"dynamic:{candidate.nodes}x{candidate.depth}"
        shape = self.search.shape(candidate.nodes, candidate.depth)
        return f"chain:{shape.size}" if shape.width == 1 else shape.name


def _options(profile: Profile, costs: Costs, *, dynamic: bool = False) -> _Options:
    priced = []
    for name, tokens in profile.trees.items():
        shape = parse_tree(name)
        ms = costs.round_ms(shape.size, shape.max_depth)
        priced.append(Candidate(shape.size, shape.max_depth, tokens, ms, name))
    if priced:
        return _Options(priced, None, dynamic)
    search = TreeSearch(profile.hits, max(costs.verify) - 1, MOST_DEPTH)
    for depth in range(1, search.most_depth + 1):
        for nodes in range(1, search.most_nodes + 1):
            if (tokens := search.value(nodes, depth)) > 0.0:
                priced.append(Candidate(nodes, depth, tokens, costs.round_ms(nodes, depth)))
    return _Options(priced, search, dynamic)


def choose(kinds: Sequence[Kind], slack: float = SLACK) -> Choice:
    """The candidates that reach the highest rate, or the smallest within `slack` of it."""
    rate = 0.0
    while True:
        best = [max(kind.candidates, key=lambda c: c.tokens - rate * c.ms) for kind in kinds]
        reached = _rate(kinds, best)
        if reached <= rate * (1.0 + 1e-9):
            break
        rate = reached
    # Summed over the kinds: tokens >= (1 - slack) rate ms, as the best ones sum up to nothing.
    frugal = []
    for kind, top in zip(kinds, best, strict=True):
        enough = top.tokens - rate * top.ms
        good = [c for c in kind.candidates if c.tokens - (1.0 - slack) * rate * c.ms >= enough]
        frugal.append(min(good, key=lambda c: (c.nodes, c.depth)))
    return Choice(tuple(frugal), 1e3 * _rate(kinds, frugal))


def _rate(kinds: Sequence[Kind], chosen: Sequence[Candidate]) -> float:
    """Tokens per millisecond."""
    pairs = list(zip(kinds, chosen, strict=True))
    return sum(k.share * c.tokens for k, c in pairs) / sum(k.share * c.ms for k, c in pairs)
