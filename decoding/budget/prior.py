"""What trees are expected to bring before a run has shown it: from the drafter's profile, at measured costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from decoding.budget.candidates import DEPTHS, NODES
from decoding.budget.prices import Priced
from decoding.config import LOOKUP, RECYCLING
from decoding.profiles import Profile
from decoding.tree import Shape, TreeShape, chain_shape, dynamic_shape, parse_tree, recycling_shape
from decoding.tree_search import TreeSearch, expected_tokens

UNKNOWN = Profile(((0.5, 0.12, 0.06, 0.04), (0.5, 0.12, 0.06, 0.04)))
"""A draft that nobody has measured: about what the measured ones bring."""
RECYCLED = tuple(0.40 / (rank + 1) ** 2 for rank in range(8))
WORTH_TRYING = 0.75
"""Trees that are expected to bring less than this share of the best rate are not weighed at all."""
LEAST = (2, 3, 4)
FLOORS = (0.15, 0.25)
STOPS = (0.2, 0.4)


@dataclass(frozen=True)
class Candidate:
    """A tree with what a round of it is expected to bring and to cost."""

    shape: Shape
    tokens: float
    ms: float
    known: bool
    """Whether the expectation is one; a tree that stops by itself has to show what it brings first."""

    @property
    def rate(self) -> float:
        """Tokens per millisecond."""
        return self.tokens / self.ms


def candidates_of(draft: str, profile: Profile | None, priced: Priced) -> dict[str, Candidate]:
    """The trees to choose among for a drafter, by name: no larger than what verification was timed for."""
    most = max(priced.costs.verify) - 1
    shapes: list[Shape]
    if draft == LOOKUP:
        shapes = [chain_shape(n) for n in range(1, min(most, 10) + 1)]
    elif draft == RECYCLING:
        shapes = [recycling_shape(n) for n in (2, 4, 6, 8, 12, 16, 24, 32) if n <= most]
    else:
        shapes = [dynamic_shape(n, d) for n in (*NODES, 48, 64, 96) for d in DEPTHS if d <= n <= most]
    brings = _Expected(profile or UNKNOWN, draft, most)
    found = {
        shape.name: Candidate(shape, brings(shape), priced.ms(shape.size, shape.max_depth), True)
        for shape in shapes
    }
    best = max(candidate.rate for candidate in found.values())
    found = {name: c for name, c in found.items() if c.rate >= WORTH_TRYING * best}
    if draft not in (LOOKUP, RECYCLING):
        found |= _stopping(found)
    return found


def _stopping(found: Mapping[str, Candidate]) -> dict[str, Candidate]:
    """Trees that go on only where it pays, no larger than the largest candidate."""
    largest = max(found.values(), key=lambda c: c.shape.size)
    depth = max(c.shape.max_depth for c in found.values())
    best = max(found.values(), key=lambda c: c.rate)
    shapes = [
        dynamic_shape(largest.shape.size, depth, least, floor, stop)
        for least in LEAST
        if least < largest.shape.size
        for floor in FLOORS
        for stop in STOPS
    ]
    return {shape.name: Candidate(shape, best.tokens, best.ms, False) for shape in shapes}


class _Expected:
    """Tokens per round of a tree under a profile."""

    def __init__(self, profile: Profile, draft: str, most: int) -> None:
        self._hits = profile.hits or (RECYCLED,)
        self._search = TreeSearch(self._hits, most, max(DEPTHS))
        # Where whole trees were measured, what the shares by rank promise is brought down, or up, to them.
        ratios = [
            (tokens - 1.0) / max(self._promised(parse_tree(name)) - 1.0, 0.05)
            for name, tokens in profile.trees.items()
        ]
        self._scale = sum(ratios) / len(ratios) if ratios else 1.0

    def __call__(self, shape: Shape) -> float:
        """Tokens per round, the target's own included."""
        return 1.0 + self._scale * (self._promised(shape) - 1.0)

    def _promised(self, shape: Shape) -> float:
        if isinstance(shape, TreeShape):
            return expected_tokens(shape, self._hits)
        return max(self._search.value(shape.size, d) for d in range(1, min(shape.max_depth, max(DEPTHS)) + 1))
