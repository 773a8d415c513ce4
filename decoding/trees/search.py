"""The static trees that are accepted most, for every size and depth: Sequoia's dynamic programme. Torch-free.

What is accepted is described by ``hits[d][r]``: of the rounds whose path reached depth d, the share that
goes on with the rank-r child (ranks exclude each other: a row sums to at most 1). Deeper nodes use the
last row. With independent depths a node is worth the product of the hits along its path, and a round
yields one token (the target's own) and the sum over nodes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spectui.decoding.trees.shape import ROOT, FloatArray, IntArray, TreeShape
from spectui.decoding.trees.spec import paths_spec

Hits = Sequence[Sequence[float]]


def expected_tokens(shape: TreeShape, hits: Hits) -> float:
    """Tokens per round of any tree under `hits`, the target's own included.

    Ranks that `hits` does not know are never accepted.
    """
    worth: list[float] = []
    for parent, depth, rank in zip(
        shape.parent.tolist(), shape.depth.tolist(), shape.rank.tolist(), strict=True
    ):
        row = _row(hits, depth)
        above = 1.0 if parent == ROOT else worth[parent]
        worth.append(above * (row[rank] if rank < len(row) else 0.0))
    return 1.0 + sum(worth)


class TreeSearch:
    """The best tree of exactly m nodes and at most l levels, for all m and l up to the given limits.

    Sequoia (arXiv 2402.12374, section 3.1) defines T[m][l][b], the value of the best tree of m nodes
    and depth l whose root has b children, and splits off the last child's subtree:

        T[m][l][b] = max over y of  T[m - y][l][b - 1] + hits[b] * (1 + max over b' of T[y - 1][l - 1][b'])

    (m counting nodes below the root here). Because `hits` differs by depth, T is computed for each
    limit from the deepest level up. O(limit^2 * ranks * nodes^2), vectorised: milliseconds.
    """

    def __init__(self, hits: Hits, most_nodes: int, most_depth: int) -> None:
        self.most_nodes, self.most_depth = most_nodes, most_depth
        self._hits = hits
        # [m, y] -> m - y, and for y > m an index of minus infinity.
        sizes = np.arange(most_nodes + 1)
        self._rest = np.where(sizes[:, None] >= sizes[None], sizes[:, None] - sizes[None], most_nodes + 1)
        self._tables = {limit: self._solve(limit) for limit in range(1, most_depth + 1)}

    def value(self, nodes: int, depth: int) -> float:
        """Tokens per round of the best tree of `nodes` nodes, at most `depth` deep.

        Minus infinity where there is no such tree.
        """
        return 1.0 + float(self._tables[depth][0].best[nodes])

    def shape(self, nodes: int, depth: int) -> TreeShape:
        """The best tree of `nodes` nodes, at most `depth` deep, named as `decoding.trees.spec.parse_shape` reads it.

        Raises `ValueError` where there is no such tree.
        """
        if not np.isfinite(self.value(nodes, depth)):
            raise ValueError(f"there is no tree of {nodes} nodes at most {depth} deep under this profile")
        paths = self._paths(self._tables[depth], 0, nodes)
        return TreeShape.from_paths(paths_spec(paths), paths)

    def _solve(self, limit: int) -> list[_Level]:
        """Levels 0..limit; level d holds the best forests below an accepted node of depth d."""
        nothing = np.full(self.most_nodes + 1, -np.inf)
        nothing[0] = 0.0
        levels = [_Level([nothing], [])]
        for depth in range(limit, 0, -1):
            below = levels[0].best
            forests, choices = [nothing], []
            for hit in _row(self._hits, depth):
                # A child whose subtree has y nodes, itself included.
                child = np.full(self.most_nodes + 1, -np.inf)
                possible = np.flatnonzero(np.isfinite(below[:-1]))
                child[possible + 1] = hit * (1.0 + below[possible])
                sums = np.append(forests[-1], -np.inf)[self._rest] + child
                choices.append(sums.argmax(1))
                forests.append(sums.max(1))
            levels.insert(0, _Level(forests, choices))
        return levels

    def _paths(self, levels: list[_Level], depth: int, nodes: int) -> list[tuple[int, ...]]:
        """Rank paths, relative to a node of `depth`, of the best `nodes` below it."""
        paths: list[tuple[int, ...]] = []
        level = levels[depth]
        for rank in range(level.children(nodes) - 1, -1, -1):
            size = int(level.choices[rank][nodes])
            paths.append((rank,))
            paths += [(rank, *path) for path in self._paths(levels, depth + 1, size - 1)]
            nodes -= size
        return paths


class _Level:
    """Accepted tokens of the best forests below a node, by number of trees b and size m."""

    def __init__(self, forests: list[FloatArray], choices: list[IntArray]) -> None:
        self._forests = np.stack(forests)  # [b, m]: accepted tokens
        self.choices = choices
        """``choices[r][m]``: size of the rank-r child's subtree in the best forest of r + 1 trees."""
        self.best: FloatArray = self._forests.max(0)

    def children(self, nodes: int) -> int:
        """Number of children of the best forest of `nodes`."""
        return int(self._forests[:, nodes].argmax())


def _row(hits: Hits, depth: int) -> Sequence[float]:
    return hits[min(depth, len(hits)) - 1]
