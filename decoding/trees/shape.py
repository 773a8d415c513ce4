"""Speculative trees: their shapes, the tree of a round, and ancestor masks. Torch-free.

The root (the last committed token) is no node. Nodes are numbered from 0 with parents before
children; a child of the root has parent -1 and depth 1. Row ``0`` of anything the target returns
belongs to the root and row ``i + 1`` to node ``i``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from spectui.decoding.errors import UsageError
from spectui.decoding.trees.limits import MAX_NODES

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

ROOT = -1
"""Parent of the root's children."""


@dataclass(frozen=True)
class TreeShape:
    """The nodes of a static tree, before any token is known.

    ``parent[i]`` is a node index below ``i`` or `ROOT`; ``rank[i]`` counts siblings from 0 in the
    drafter's order; ``depth[i]`` starts at 1. All of shape ``[N]``.
    """

    name: str
    parent: IntArray
    depth: IntArray
    rank: IntArray

    @property
    def size(self) -> int:
        """Number of nodes N, the root not counted."""
        return len(self.parent)

    @property
    def max_depth(self) -> int:
        """Depth of the deepest node; 0 for the empty tree."""
        return int(self.depth.max()) if self.size else 0

    @cached_property
    def levels(self) -> tuple[IntArray, ...]:
        """Node indices of depth 1, 2, ...; each ascending."""
        return tuple(np.flatnonzero(self.depth == d) for d in range(1, self.max_depth + 1))

    @cached_property
    def width(self) -> int:
        """The largest number of children of any node."""
        return int(self.rank.max()) + 1 if self.size else 0

    @classmethod
    def from_parents(cls, name: str, parent: Sequence[int]) -> TreeShape:
        """A shape from parents alone; ranks follow the order of siblings.

        Raises `UsageError` when a parent does not come before its child.
        """
        depth: list[int] = []
        rank: list[int] = []
        children: dict[int, int] = {}
        for i, p in enumerate(parent):
            if not ROOT <= p < i:
                raise UsageError(f"tree '{name}': node {i} has parent {p}; parents must come before children")
            depth.append(1 if p == ROOT else depth[p] + 1)
            rank.append(children.get(p, 0))
            children[p] = rank[-1] + 1
        return cls(name, *(np.asarray(a, dtype=np.int64) for a in (parent, depth, rank)))

    @classmethod
    def from_paths(cls, name: str, paths: Sequence[Sequence[int]]) -> TreeShape:
        """A shape from rank paths: ``[0, 2]`` is the third child of the root's first child.

        Nodes are ordered by depth, then by path. Raises `UsageError` on duplicates, on a path whose
        parent is missing, and on gaps among siblings.
        """
        ordered = sorted({tuple(p) for p in paths}, key=lambda p: (len(p), p))
        if len(ordered) != len(paths):
            raise UsageError(f"tree '{name}': a path is given twice")
        index: dict[tuple[int, ...], int] = {(): ROOT}
        parents: list[int] = []
        for path in ordered:
            if not path or any(r < 0 for r in path):
                raise UsageError(f"tree '{name}': {list(path)} is no path; give ranks from 0")
            if path[:-1] not in index:
                raise UsageError(f"tree '{name}': {list(path)} has no parent {list(path[:-1])} in the tree")
            if path[-1] > 0 and (*path[:-1], path[-1] - 1) not in index:
                raise UsageError(f"tree '{name}': {list(path)} has no sibling of rank {path[-1] - 1}")
            index[path] = len(parents)
            parents.append(index[path[:-1]])
        return cls.from_parents(name, parents)

    def trimmed(self, max_depth: int) -> TreeShape:
        """The part of the tree that is at most `max_depth` deep; the tree itself when that is all of it."""
        if max_depth >= self.max_depth:
            return self
        kept = np.flatnonzero(self.depth <= max_depth)
        index = {ROOT: ROOT} | {int(old): new for new, old in enumerate(kept)}
        return TreeShape.from_parents(self.name, [index[int(p)] for p in self.parent[kept]])

    def paths(self) -> list[list[int]]:
        """Rank path of every node, the inverse of `from_paths`."""
        out: list[list[int]] = []
        for parent, rank in zip(self.parent, self.rank, strict=True):
            out.append([*(out[parent] if parent != ROOT else []), int(rank)])
        return out


@dataclass(frozen=True)
class DynamicShape:
    """A tree chosen anew each round by the draft's own probabilities: at most `size` nodes, `max_depth` deep.

    Level by level the `frontier` likeliest nodes are expanded, `width` children each, and of all nodes
    scored the best `size` are proposed (EAGLE-2, arXiv 2406.16858).
    """

    name: str
    size: int
    max_depth: int
    least: int = MAX_NODES
    """Nodes that are proposed whatever their probability: rows that cost the target next to nothing."""
    floor: float = 0.0
    """Further nodes are proposed only if the draft's probability of their path is at least this."""
    stop: float = 0.0
    """A further level is drafted only while the probabilities of the nodes that it grows from sum to at least this."""
    confidence: float = 0.0
    """Children are drafted only where the chance that a path down to them is accepted is at least this, by the draft's
    own estimate of it (the confidence head of DSpark)."""
    exhaustive: bool = False
    """The nodes are the likeliest of all there are, for a draft whose levels cost next to nothing."""

    @property
    def width(self) -> int:
        """Children scored per expanded node: all that the tree could hold, for candidates cost only their sorting.
        A child of rank 10 has less than a tenth of the probability and never pays."""
        return self.size if self.exhaustive else min(self.size, 10)

    @property
    def frontier(self) -> int:
        """Nodes expanded per level: each is a row of the draft's forward. Up to about four rows a forward
        costs a CPU what one does, the reading of the weights; large trees take EAGLE-2's ten."""
        if self.exhaustive:
            return self.size
        return min(self.size, max(4, min(10, self.size // 4)))


Shape = TreeShape | DynamicShape


Draw = Literal["deterministic", "without_replacement"]


@dataclass(frozen=True)
class TokenTree:
    """The tree that a drafter proposes for one round: a shape with tokens and, where it has them, probabilities.

    All arrays are of shape ``[N]``. ``draft_logprob`` and ``draft_entropy`` (nats, of the draft's
    distribution at the parent) are NaN throughout for a drafter without probabilities. ``draw`` says
    how children came about, which decides the lossless acceptance test (`decoding.acceptance`); trees
    drawn without replacement carry ``draft_rows``, the draft's distribution after the root
    (row 0) and after node i (row i + 1) of shape ``[N + 1, V]``, NaN rows for nodes never expanded.
    """

    token: IntArray
    parent: IntArray
    depth: IntArray
    rank: IntArray
    draft_logprob: FloatArray
    draft_entropy: FloatArray
    draw: Draw = "deterministic"
    draft_rows: NDArray[np.float32] | None = None

    @property
    def size(self) -> int:
        """Number of nodes N, the root not counted."""
        return len(self.token)

    @classmethod
    def from_shape(cls, shape: TreeShape, token: IntArray) -> TokenTree:
        """A tree whose drafter has no probabilities."""
        missing = np.full(shape.size, np.nan)
        return cls(token, shape.parent, shape.depth, shape.rank, missing, missing)

    @classmethod
    def empty(cls) -> TokenTree:
        """The tree without nodes: the round that verifies it decodes one token."""
        ints, floats = np.empty(0, np.int64), np.empty(0)
        return cls(ints, ints, ints, ints, floats, floats)

    def check(self) -> None:
        """Raise `ValueError` unless parents come first, depths follow and siblings differ.

        Every drafter's tree is checked once per round: a tree that breaks these would silently change
        the output.
        """
        seen: set[tuple[int, int]] = set()
        ranks: dict[int, int] = {}
        for i, (t, p, d, r) in enumerate(
            zip(
                self.token.tolist(),
                self.parent.tolist(),
                self.depth.tolist(),
                self.rank.tolist(),
                strict=True,
            )
        ):
            if not ROOT <= p < i or d != (1 if p == ROOT else int(self.depth[p]) + 1):
                raise ValueError(f"node {i}: parent {p} or depth {d} is wrong")
            if (p, t) in seen:
                raise ValueError(f"node {i}: token {t} stands twice among the children of {p}")
            if r != ranks.get(p, 0):
                raise ValueError(f"node {i}: rank {r} is out of order")
            ranks[p] = r + 1
            seen.add((p, t))


def ancestor_mask(parent: IntArray) -> BoolArray:
    """The attention mask of a tree: ``[N + 1, N + 1]``, row and column 0 the root, true on the diagonal.

    Row i + 1 is node i; it sees the root, its ancestors and itself.
    """
    size = len(parent)
    mask = np.eye(size + 1, dtype=np.bool_)
    mask[:, 0] = True
    for i, p in enumerate(parent.tolist()):
        if p != ROOT:
            mask[i + 1] |= mask[p + 1]
    return mask
