"""What a round shows of trees that are parts of its own.

A smaller tree takes more rounds over the same text. Asking only what it would have accepted at the root
gives it less than its due: its other rounds begin inside an accepted path, where the draft was just right.
So it is walked from the root to the end of the round's tokens, each time from where it stops, with what stood below
that place. The round's end is the smaller tree's end too: no child was right there.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence

from spectui.decoding.trees.shape import ROOT, DynamicShape, Shape, TokenTree, TreeShape


def covers(drafted: Shape, shape: Shape) -> bool:
    """Whether rounds of `drafted` have the nodes of `shape`. Of dynamic trees: whether they have as many when each
    deeper level has taken one for itself, which is so in nearly every round."""
    if isinstance(drafted, TreeShape) and isinstance(shape, TreeShape):
        return _paths(shape) <= _paths(drafted)
    if isinstance(drafted, TreeShape) or isinstance(shape, TreeShape):
        return False
    deeper = drafted.max_depth - shape.max_depth
    whole = drafted.floor == 0.0 and drafted.stop == 0.0
    return whole and deeper >= 0 and shape.size + deeper <= drafted.size


class Seen:
    """A round, asked what parts of its tree would have taken. `path`: its accepted nodes, from the root down."""

    def __init__(self, tree: TokenTree, path: Sequence[int]) -> None:
        self._parent = tree.parent.tolist()
        self._depth = tree.depth.tolist()
        self._rank = tree.rank.tolist()
        self._path = [ROOT, *path]
        self._places: dict[tuple[int, int], list[int]] = {}
        self._counts: dict[tuple[int, int], int] = {}
        self._below: list[list[tuple[float, int, int]] | None] = [None] * len(self._path)
        self._logprob = tree.draft_logprob.tolist()
        self.likely = bool(self._logprob) and not math.isnan(sum(self._logprob))
        """Whether the draft has probabilities."""

    @property
    def tokens(self) -> int:
        """That the round brought, the target's own included."""
        return len(self._path)

    def shown(self, shape: Shape, tokens_per_round: float) -> float | None:
        """How many rounds `shape` would have taken; None where the round does not say.

        Where too little is known from some place on, the tokens left are taken at `tokens_per_round`.
        """
        static = isinstance(shape, TreeShape)
        if not static and not self.likely:
            return None
        table = _children_of(shape) if isinstance(shape, TreeShape) else None
        last = len(self._path) - 1
        place, rounds = 0, 0.0
        while place <= last:
            if table is not None:
                accepted, known = self._static(table, place)
            else:
                assert isinstance(shape, DynamicShape)
                accepted, known = self._dynamic(shape, place)
            if place + accepted >= last and not known:
                if place == 0 and static:
                    return None
                left = last - place + 1
                return rounds + left / max(tokens_per_round, left)
            rounds += 1.0
            place += accepted + 1
        return rounds

    def _dynamic(self, shape: DynamicShape, place: int) -> tuple[int, bool]:
        """How many steps the tree goes along the path from a place, and whether it is all there."""
        key = place, shape.max_depth
        at = self._places.get(key)
        if at is None:
            at = self._rank_path(place, shape.max_depth)
        accepted = bisect_left(at, shape.size)
        return accepted, place == 0 or self._counts[key] >= shape.size

    def _rank_path(self, place: int, most: int) -> list[int]:
        """Of the path's nodes from a place on, how many nodes below it are likelier: ascending."""
        within = [node for _, depth, node in self._order(place) if depth <= most]
        self._counts[place, most] = len(within)
        found = [within.index(node) for node in self._path[place + 1 : place + 1 + most]]
        self._places[place, most] = found
        return found

    def _order(self, place: int) -> list[tuple[float, int, int]]:
        """Nodes below a place of the path, the likeliest first: minus log-probability from there, depth, node."""
        found = self._below[place]
        if found is None:
            root = self._path[place]
            above = place
            cost = {root: 0.0}
            found = []
            for node in range(root + 1, len(self._parent)):
                parent = self._parent[node]
                if parent in cost:
                    cost[node] = reach = cost[parent] - self._logprob[node]
                    found.append((reach, self._depth[node] - above, node))
            found.sort()
            self._below[place] = found
        return found

    def _static(self, table: dict[tuple[int, int], int], place: int) -> tuple[int, bool]:
        """As `_dynamic`, of a tree of rank paths by its `table`."""
        at, accepted = ROOT, 0
        for node in self._path[place + 1 :]:
            child = table.get((at, self._rank[node]))
            if child is None:
                return accepted, True
            at, accepted = child, accepted + 1
        wanted = 0
        while (at, wanted) in table:
            wanted += 1
        return accepted, wanted <= self._parent.count(self._path[-1])


_TABLES: dict[str, dict[tuple[int, int], int]] = {}
_PATHS: dict[str, frozenset[tuple[int, ...]]] = {}


def _children_of(shape: TreeShape) -> dict[tuple[int, int], int]:
    """Child by parent and rank."""
    if shape.name not in _TABLES:
        pairs = zip(shape.parent.tolist(), shape.rank.tolist(), strict=True)
        _TABLES[shape.name] = {pair: node for node, pair in enumerate(pairs)}
    return _TABLES[shape.name]


def _paths(shape: TreeShape) -> frozenset[tuple[int, ...]]:
    if shape.name not in _PATHS:
        _PATHS[shape.name] = frozenset(tuple(path) for path in shape.paths())
    return _PATHS[shape.name]
