"""Tree index tensors, uploaded once per shape; rebuilding them each round would wait for the GPU."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from spectui.decoding.device.acceptance import children_table
from spectui.decoding.device.transfer import upload
from spectui.decoding.trees.shape import ROOT, BoolArray, IntArray, TreeShape, ancestor_mask

KEPT = 256
"""Indexes that are kept: a static tree has one for each depth, dynamic trees differ from round to round."""


@dataclass(frozen=True)
class Level:
    """One level of a growing static tree. Tensors are on the device."""

    width: int
    """Most children that a parent of its nodes has."""
    nodes: torch.Tensor
    row: torch.Tensor
    """Row of each node's parent among the logits that the level is taken from."""
    rank: torch.Tensor
    parents: torch.Tensor | None
    """None below the root."""
    places: torch.Tensor
    """Rows, in ``[N + 1]``, of the nodes that the level's logits follow."""
    below: tuple[int, ...]
    """Nodes that are fed to the draft for the next level."""
    feed: torch.Tensor
    depth: IntArray
    mask: BoolArray
    above: torch.Tensor
    """Row of the parent of each fed node in the call before, see `decoding.device.tree.ScoreTensors`."""


class TreeIndex:
    """A shape on a device: `parent` and `rank` ``[N]``, `ancestors` ``[N, N]`` and `table`, see `device.acceptance`.

    `depth` ``[N]`` and `above`, the mask, are on the host, as `BufferedModel.append_tensors` takes them there.
    """

    def __init__(self, shape: TreeShape, device: torch.device) -> None:
        self.shape, self.device = shape, device
        self.above = ancestor_mask(shape.parent)
        """``[N + 1, N + 1]``, the root first."""
        self.parent, self.rank = self._up(shape.parent), self._up(shape.rank)
        self.ancestors = self._up(self.above[1:, 1:])
        self.size, self.max_depth, self.width = shape.size, shape.max_depth, max(shape.width, 1)
        self.depth = shape.depth
        self.table = self._up(
            np.asarray(children_table(shape.parent, shape.size + 1, self.width), dtype=np.int64)
        )

    @cached_property
    def levels(self) -> list[Level]:
        """From the root down."""
        shape, out = self.shape, []
        inner, above, order = set(shape.parent.tolist()), [ROOT], list[int]()
        for level in shape.levels:
            row_of = {node: row for row, node in enumerate(above)}
            parents = shape.parent[level]
            places = self._up(np.asarray(above) + 1)
            row = self._up(np.asarray([row_of[int(parent)] for parent in parents], dtype=np.int64))
            below = [int(node) for node in level if int(node) in inner]
            order += below
            out.append(
                Level(
                    width=int(shape.rank[level].max()) + 1,
                    nodes=self._up(np.asarray(level, dtype=np.int64)),
                    row=row,
                    rank=self._up(shape.rank[level]),
                    parents=None if above == [ROOT] else self._up(parents),
                    places=places,
                    below=tuple(below),
                    feed=self._up(np.asarray(below, dtype=np.int64)),
                    depth=shape.depth[below],
                    mask=self.above[1:, 1:][np.ix_(below, order)],
                    above=self._up(
                        np.asarray([row_of[int(shape.parent[node])] for node in below], dtype=np.int64)
                    ),
                )
            )
            above = below
            if not above:
                break
        return out

    @cached_property
    def slot(self) -> torch.Tensor:
        """``[N]``, the slot at which the draft is fed each node; `ROOT` where it is not."""
        out = np.full(self.size, ROOT, dtype=np.int64)
        for slot, node in enumerate(node for level in self.levels for node in level.below):
            out[node] = slot
        return self._up(out)

    def _up(self, values: NDArray[Any]) -> torch.Tensor:
        return upload(values, self.device)


@dataclass(frozen=True)
class GrownTreeIndex:
    """The `TreeIndex` of a tree that was chosen on the device; the host knows its sizes alone."""

    size: int
    max_depth: int
    width: int
    parent: torch.Tensor
    rank: torch.Tensor
    slot: torch.Tensor
    ancestors: torch.Tensor
    table: torch.Tensor
    depth: torch.Tensor
    above: torch.Tensor


def tree_index(shape: TreeShape, device: torch.device) -> TreeIndex:
    """The index of `shape`, cached."""
    return _tree_index(shape.parent.tobytes(), shape.rank.tobytes(), device)


@lru_cache(KEPT)
def _tree_index(parent: bytes, rank: bytes, device: torch.device) -> TreeIndex:
    parents, ranks = (np.frombuffer(data, dtype=np.int64) for data in (parent, rank))
    depth = np.zeros(len(parents), dtype=np.int64)
    for node, above in enumerate(parents.tolist()):
        depth[node] = 1 if above == ROOT else depth[above] + 1
    return TreeIndex(TreeShape("", parents.copy(), depth, ranks.copy()), device)
