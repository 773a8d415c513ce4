"""Candidate trees, and the choice of the one with the most tokens per second. Torch-free.

Every round is priced by `Costs.round_ms`; tokens per round come from a profile before a run, from its replay after.

Rounds are of one or more kinds (with a lookup match or without one), each with candidate trees. The rate is the ratio
of two means over rounds, tokens and milliseconds, and Dinkelbach's method maximises it: at a given rate every kind
takes the tree worth most, tokens - rate * milliseconds, which gives the next rate, until it stays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from spectui.decoding.errors import DecodingError
from spectui.decoding.trees.costs import Costs
from spectui.decoding.trees.limits import MAX_DEPTH
from spectui.decoding.trees.profile import AcceptanceProfile
from spectui.decoding.trees.search import Hits, TreeSearch
from spectui.decoding.trees.shape import DynamicShape, Shape, TreeShape
from spectui.decoding.trees.spec import chain_shape, dynamic_shape, full_shape, parse_tree

MOST_DEPTH = 12
"""Deeper levels bring less than a hundredth of a token with any drafter here."""

SLACK = 0.01
"""Of trees whose rate is within 1 % of the best the smallest is taken: the optimum is flat, what trees bring is an
estimate, and the choice should not change with the noise of a measurement."""

NODES = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 24, 32)
DEPTHS = (1, 2, 3, 4, 5, 6, 8)
LEAST = (2, 3, 4, 6)
AROUND = (0.7, 1.0, 1.4)
"""Multiples of the break-even that stopping rules are tried at: whether a node pays also depends on the others."""


@dataclass(frozen=True)
class Candidate:
    """A tree with the tokens and the milliseconds of its rounds: means of a round, or sums over many."""

    nodes: float
    depth: float
    tokens: float
    ms: float
    name: str = ""
    """Empty where the tree is the best one of its size and depth."""


@dataclass(frozen=True)
class RoundKind:
    """A share of the rounds, with the trees that they may draft, shallow ones first."""

    share: float
    candidates: Sequence[Candidate]


@dataclass(frozen=True)
class Choice:
    """One candidate per kind of round, and the rate they reach together."""

    candidates: tuple[Candidate, ...]
    tokens_per_second: float


@dataclass(frozen=True)
class Extent:
    """Nodes and depth of the largest trees to weigh."""

    nodes: int
    depth: int


def choose(kinds: Sequence[RoundKind], slack: float = SLACK) -> Choice:
    """The candidates that reach the highest rate, or the smallest within `slack` of it."""
    rate = 0.0
    while True:
        best = [max(kind.candidates, key=lambda c: c.tokens - rate * c.ms) for kind in kinds]
        reached = _rate(kinds, best)
        if reached <= rate * (1.0 + 1e-9):
            break
        rate = reached
    # Summed over the kinds: tokens >= (1 - slack) rate ms, as the best ones sum to 0.
    frugal = []
    for kind, top in zip(kinds, best, strict=True):
        enough = top.tokens - rate * top.ms
        good = [c for c in kind.candidates if c.tokens - (1.0 - slack) * rate * c.ms >= enough]
        frugal.append(min(good, key=lambda c: c.nodes))
    return Choice(tuple(frugal), 1e3 * _rate(kinds, frugal))


def _rate(kinds: Sequence[RoundKind], chosen: Sequence[Candidate]) -> float:
    """Tokens per millisecond."""
    pairs = list(zip(kinds, chosen, strict=True))
    return sum(k.share * c.tokens for k, c in pairs) / sum(k.share * c.ms for k, c in pairs)


def best_tree(
    profile: AcceptanceProfile,
    costs: Costs,
    beside: AcceptanceProfile | None = None,
    *,
    dynamic: bool = False,
    deepest: int = MAX_DEPTH,
) -> tuple[str, Choice]:
    """The tree for a drafter of `profile`, by the name that ``--tree`` takes.

    It is one of the whole trees that the profile knows, or else any that is no larger than what was timed; it has no
    more levels than `deepest`. With
    `dynamic` its size and depth are kept, but its nodes are left to each round's probabilities (EAGLE-2,
    arXiv 2406.16858), which bring no less than what is best on average. `beside` is the profile of the
    lookup that has its share of the rounds instead; its chain is the second part of the name.
    """
    options = [_options(profile, costs, dynamic=dynamic, deepest=deepest)]
    kinds = [RoundKind(profile.rounds, options[0].priced)]
    if profile.rounds < 1.0:
        kinds.append(RoundKind(1.0 - profile.rounds, [Candidate(0, 0, 1.0, costs.round_ms(0, 0))]))
    if beside is not None:
        kinds = [RoundKind((1.0 - beside.rounds) * kind.share, kind.candidates) for kind in kinds]
        # Looking up takes no model, so its levels are free.
        options.append(_options(beside, replace(costs, draft={})))
        kinds.append(RoundKind(beside.rounds, options[-1].priced))
    choice = choose(kinds)
    names = [options[0].name(choice.candidates[0])]
    if beside is not None:
        names.append(options[-1].name(choice.candidates[-1]))
    return "+".join(names), choice


@dataclass(frozen=True)
class _Options:
    """The priced trees of a profile, and the search that found them."""

    priced: list[Candidate]
    search: TreeSearch | None
    dynamic: bool

    def name(self, candidate: Candidate) -> str:
        """The name of one of `priced`."""
        if candidate.name or self.search is None:
            return candidate.name
        if self.dynamic:
            return f"dynamic:{candidate.nodes}x{candidate.depth}"
        return _searched(self.search, int(candidate.nodes), int(candidate.depth)).name


def _options(
    profile: AcceptanceProfile, costs: Costs, *, dynamic: bool = False, deepest: int = MAX_DEPTH
) -> _Options:
    priced = []
    for name, tokens in profile.trees.items():
        shape = parse_tree(name)
        if shape.max_depth > deepest:
            continue
        ms = costs.round_ms(shape.size, shape.max_depth)
        priced.append(Candidate(shape.size, shape.max_depth, tokens, ms, name))
    if priced:
        return _Options(sorted(priced, key=lambda c: c.depth), None, dynamic)
    if not profile.hits:
        raise DecodingError(
            f"the draft's profile knows no tree of at most {deepest} levels, all that it drafts; name one with --tree"
        )
    search = TreeSearch(profile.hits, max(costs.verify) - 1, min(deepest, MOST_DEPTH))
    for depth in range(1, search.most_depth + 1):
        for nodes in range(1, search.most_nodes + 1):
            if (tokens := search.value(nodes, depth)) > 0.0:
                priced.append(Candidate(nodes, depth, tokens, costs.round_ms(nodes, depth)))
    return _Options(priced, search, dynamic)


def _searched(search: TreeSearch, nodes: int, depth: int) -> TreeShape:
    """The best tree of a size; one that never branches is called a chain."""
    shape = search.shape(nodes, depth)
    return chain_shape(shape.size) if shape.width == 1 else shape


def full_trees(extent: Extent) -> list[Shape]:
    """The named static trees: chains, and full trees, of which that of the published study is one."""
    shapes: list[Shape] = [chain_shape(n) for n in range(1, min(extent.depth, 8) + 1)]
    for depth in (1, 2, 3, 4):
        for branching in (2, 3, 4):
            size = sum(branching**d for d in range(1, depth + 1))
            if size <= extent.nodes and depth <= extent.depth:
                shapes.append(full_shape(depth, branching))
    return shapes


def static_trees(extent: Extent, profiles: Sequence[Hits], costs: Costs, keep: int = 3) -> list[TreeShape]:
    """For each profile of acceptance by depth and rank, the trees that Sequoia's programme finds best by
    tokens per second: the best of each depth, `keep` depths of them."""
    shapes: dict[str, TreeShape] = {}
    for hits in profiles:
        search = TreeSearch(hits, extent.nodes, extent.depth)
        ranked = []
        for depth in range(1, extent.depth + 1):
            rate, nodes = max(
                (search.value(n, depth) / costs.round_ms(n, depth), n) for n in range(1, extent.nodes + 1)
            )
            if rate > 0.0:
                ranked.append((rate, nodes, depth))
        for _, nodes, depth in sorted(ranked, reverse=True)[:keep]:
            shape = _searched(search, nodes, depth)
            shapes[shape.name] = shape
    return list(shapes.values())


def dynamic_trees(extent: Extent) -> list[DynamicShape]:
    """Trees whose nodes are chosen by the draft's probabilities, of every size and depth."""
    return [
        dynamic_shape(nodes, depth)
        for nodes in NODES
        for depth in DEPTHS
        if nodes <= extent.nodes and depth <= min(extent.depth, nodes)
    ]


def stopping_trees(
    extent: Extent,
    costs: Costs,
    probability_of: Callable[[float], float],
    onward: float,
    tokens_per_ms: float,
) -> list[DynamicShape]:
    """Dynamic trees that expand a node only while that gains more than it costs.

    At a rate of tokens per millisecond a row pays if its chance to be accepted is above the rate times
    the milliseconds it adds; `probability_of` is the draft's probability that means such a chance. A level
    pays if the nodes that it would grow from bring enough together; `onward` is the chance that an accepted
    path goes on below a node that was expanded.
    """
    shapes: dict[str, DynamicShape] = {}
    most = extent.nodes
    row_ms = (costs.round_ms(most, 1) - costs.round_ms(min(2, most), 1)) / max(most - 2, 1)
    level_ms = costs.round_ms(2, 2) - costs.round_ms(2, 1)
    onward = max(onward, 0.05)
    for least in LEAST:
        for depth in (d for d in (3, 4, 6) if d <= extent.depth):
            if least >= most:
                continue
            for by in AROUND:
                floor = round(probability_of(by * tokens_per_ms * row_ms), 2)
                for also in AROUND:
                    stop = round(also * tokens_per_ms * (level_ms + row_ms) / onward, 2)
                    shape = dynamic_shape(most, depth, least, min(max(floor, 0.01), 1.0), min(stop, 10.0))
                    shapes[shape.name] = shape
    return list(shapes.values())
