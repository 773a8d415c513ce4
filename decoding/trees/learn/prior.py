"""What trees are expected to bring before a run has shown it: from the drafter's profile, at measured costs."""

from __future__ import annotations

import math
from dataclasses import dataclass

from spectui.decoding.drafters.registry import kind_of
from spectui.decoding.trees.advise.prices import Priced
from spectui.decoding.trees.candidates import DEPTHS, NODES
from spectui.decoding.trees.profile import Profile
from spectui.decoding.trees.search import TreeSearch, expected_tokens
from spectui.decoding.trees.shape import Shape, TreeShape
from spectui.decoding.trees.spec import dynamic_shape, parse_tree

UNKNOWN = Profile(((0.5, 0.12, 0.06, 0.04), (0.5, 0.12, 0.06, 0.04)))
"""A draft that nobody has measured: about what the measured ones bring."""
RECYCLED = tuple(0.40 / (rank + 1) ** 2 for rank in range(8))
MEASURED_ROUNDS, GUESSED_ROUNDS = 120.0, 60.0
"""Rounds that the expectation before the run weighs as much as: from a profile measured on other text, or from
`UNKNOWN`."""
WORTH_TRYING = 0.80
"""Trees that are expected to bring less than this share of the best rate are not weighed at all."""


@dataclass(frozen=True)
class Candidate:
    """A tree with what a round of it is expected to bring and to cost."""

    shape: Shape
    tokens: float
    ms: float
    weight: float
    """Rounds that the expectation is worth."""

    @property
    def rate(self) -> float:
        """Tokens per millisecond."""
        return self.tokens / self.ms


def candidates_of(draft: str, profile: Profile | None, priced: Priced) -> dict[str, Candidate]:
    """The trees to choose among for a drafter, by name: no larger than what verification was timed for."""
    most = max(priced.costs.verify) - 1
    kind, shapes = kind_of(draft), list[Shape]()
    if kind.trees is not None:
        shapes += kind.trees(most)
    else:
        shapes += [dynamic_shape(n, d) for n in (*NODES, 48, 64, 96) for d in DEPTHS if d <= n <= most]
    brings = _Expected(profile or UNKNOWN, draft, most)
    weight = GUESSED_ROUNDS if profile is None else MEASURED_ROUNDS
    found = {
        shape.name: Candidate(shape, brings(shape), priced.ms(shape.size, shape.max_depth), weight)
        for shape in shapes
    }
    best = max(candidate.rate for candidate in found.values())
    # The smallest is what all others are compared with.
    smallest = min(shape.size for shape in shapes)
    return {name: c for name, c in found.items() if c.rate >= WORTH_TRYING * best or c.shape.size == smallest}


class _Expected:
    """Tokens per round of a tree under a profile."""

    def __init__(self, profile: Profile, draft: str, most: int) -> None:
        self._hits = profile.hits or (RECYCLED,)
        self._search = TreeSearch(self._hits, most, max(DEPTHS))
        self._trees = profile.trees
        # Where whole trees were measured, what the shares by rank promise others is brought down, or up, as it
        # is with the measured one of the nearest size.
        self._scales = [
            (math.log(shape.size), (tokens - 1.0) / max(self._promised(shape) - 1.0, 0.05))
            for name, tokens in profile.trees.items()
            if (shape := parse_tree(name)).size
        ]

    def __call__(self, shape: Shape) -> float:
        """Tokens per round, the target's own included."""
        if shape.name in self._trees:
            return self._trees[shape.name]
        size = math.log(shape.size)
        _, scale = min(self._scales, key=lambda known: abs(known[0] - size), default=(0.0, 1.0))
        return 1.0 + scale * (self._promised(shape) - 1.0)

    def _promised(self, shape: Shape) -> float:
        if isinstance(shape, TreeShape):
            return expected_tokens(shape, self._hits)
        return max(self._search.value(shape.size, d) for d in range(1, min(shape.max_depth, max(DEPTHS)) + 1))
