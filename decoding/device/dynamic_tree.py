"""Growth of a dynamic tree on the device, without a wait for the nodes that are chosen.

Nodes are chosen as by `decoding.drafters.expansion.Expander` (EAGLE-2, arXiv 2406.16858, section 4), in buffers of
fixed size: every level is drafted for a whole frontier, and surplus nodes have no probability. Each level's choice
reads and writes the same tensors in every round, so that it can be captured.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from spectui.decoding.device.graphs import Graphs
from spectui.decoding.device.tree import DeviceTree, ScoreTensors
from spectui.decoding.device.tree_index import GrownTreeIndex
from spectui.decoding.trees.shape import ROOT, DynamicShape


class DynamicGrowth:
    """Grows the trees of `shape`, at most `depth` deep, from logits over `columns` of the draft's tokens.

    `ids` ``[columns]`` maps them to the target's; None where they are the same. Only shapes that `fits` can be grown.
    With `product` all nodes of a level have the same logits, of which there is one row.
    """

    def __init__(
        self,
        shape: DynamicShape,
        depth: int,
        columns: int,
        ids: torch.Tensor | None,
        distribution: Callable[[torch.Tensor], torch.Tensor],
        graphs: Graphs,
        device: torch.device,
        *,
        product: bool = False,
    ) -> None:
        self._shape, self._depth, self._ids = shape, depth, ids
        self._distribution, self._graphs, self._device = distribution, graphs, device
        self._width = min(shape.width, columns)
        self._front = min(shape.frontier, self._width)
        width, front = self._width, self._front
        self._starts = [0, *(width + level * front * width for level in range(depth))]
        """Index of each level's first candidate among all; the last entry is their number."""
        count = self._starts[-1]
        self._size = min(shape.size, count)
        numbers = partial(torch.zeros, dtype=torch.int64, device=device)
        figures = partial(torch.zeros, dtype=torch.float64, device=device)
        self._token, self._parent, self._code = (numbers(count) for _ in range(3))
        self._slot = numbers(count + 1)  # the last entry is a bin
        self._logprob, self._nats, self._reach = (figures(count) for _ in range(3))
        self._rank = torch.arange(count, device=device) % width
        self._deep = torch.cat(
            [
                torch.full((end - start,), level, device=device)
                for level, (start, end) in enumerate(
                    zip(self._starts, self._starts[1:], strict=False), start=1
                )
            ]
        )
        self._logits = [
            torch.zeros(1 if level == 0 or product else front, columns, device=device)
            for level in range(depth)
        ]
        # Of the nodes that are fed after each level: candidate, whether there is one, its parent's row, its mask.
        self._above = [numbers(front) for _ in range(depth)]
        self._there = [torch.zeros(front, dtype=torch.bool, device=device) for _ in range(depth)]
        self._rows = [numbers(front) for _ in range(depth)]
        self._feed = [numbers(front) for _ in range(depth)]
        self._masks = [
            torch.zeros(front, (level + 1) * front, dtype=torch.bool, device=device) for level in range(depth)
        ]
        # The draft's confidence in what is below each node that was fed, and in the whole path to there.
        self._sure, self._trust = (
            [
                torch.ones(1 if level == 0 else front, dtype=torch.float64, device=device)
                for level in range(depth)
            ]
            for _ in range(2)
        )
        self._alive = torch.ones(depth, dtype=torch.bool, device=device)

    @staticmethod
    def fits(shape: DynamicShape, depth: int, columns: int) -> bool:
        """True when an int64 can encode the place of every node, and the frontier can be filled."""
        width = min(shape.width, columns)
        return depth * math.log2(width + 1) < 62 and shape.frontier <= width

    @torch.inference_mode()
    def grow(
        self,
        root_logits: torch.Tensor,
        score: ScoreTensors,
        confidence: Callable[[], torch.Tensor] | None = None,
    ) -> DeviceTree:
        """A tree from the draft's logits after the root, ``[1, W]``. Its tensors are overwritten by the next."""
        logits = root_logits
        for level in range(self._depth):
            self._logits[level].copy_(logits)
            if self._shape.confidence and confidence is not None:
                self._sure[level].copy_(confidence())
            self._graphs.run((id(self), level), partial(self._choose_level, level))
            if level + 1 < self._depth:
                depth = np.full(self._front, level + 1)
                logits = score(self._feed[level], depth, self._masks[level], self._rows[level])
        token, valid, logprob, nats, *of_index = self._graphs.run((id(self), "tree"), self._choose_tree)
        # No path is longer than there are nodes.
        index = GrownTreeIndex(self._size, min(self._depth, self._size), self._width, *of_index)
        return DeviceTree(index, token, valid, logprob, nats, None, "deterministic", fed=True)

    def _choose_level(self, level: int) -> None:
        """Write the candidates of a level, and those of them that are fed to the draft for the next."""
        start, end, width, front = self._starts[level], self._starts[level + 1], self._width, self._front
        logits = self._logits[level]
        q = self._distribution(logits)
        chosen = logits.topk(width, dim=-1).indices
        logprob = q.gather(1, chosen).double().log().clamp(max=0.0)
        nats = torch.special.entr(q).sum(-1).double()
        nodes = (end - start) // width
        chosen, logprob, nats = chosen.expand(nodes, -1), logprob.expand(nodes, -1), nats.expand(nodes)
        step = (width + 1) ** (self._depth - level - 1)
        rank = torch.arange(1, width + 1, device=self._device)
        if level == 0:
            reach, code = logprob, (rank * step)[None]
            self._parent[start:end] = ROOT
        else:
            above = self._above[level - 1]
            so_far = self._reach[above].masked_fill(~self._there[level - 1], -torch.inf)
            reach = logprob + so_far[:, None]
            code = self._code[above][:, None] + (rank * step)[None]
            self._parent[start:end] = above.repeat_interleave(width)
        if self._shape.confidence:
            trust = self._sure[level]
            if level:
                trust = trust * self._trust[level - 1][self._rows[level - 1]]
            self._trust[level].copy_(trust)
            reach = reach.masked_fill((trust < self._shape.confidence)[:, None], -torch.inf)
        self._token[start:end] = (chosen if self._ids is None else self._ids[chosen]).flatten()
        self._logprob[start:end] = logprob.flatten()
        self._nats[start:end] = nats.repeat_interleave(width)
        self._reach[start:end] = reach.masked_fill(reach.isnan(), -torch.inf).flatten()
        self._code[start:end] = code.flatten()
        self._slot[start:end] = ROOT
        if level + 1 == self._depth:
            return
        # Probabilities only fall on the way down: what is not among the best now has no descendant that will be.
        # Sorting is stable, so that of equals the shallower and then the earlier wins.
        order = self._reach[:end].sort(descending=True, stable=True).indices[: self._size]
        kept = torch.zeros(end, dtype=torch.bool, device=self._device).index_fill_(0, order, True)
        reach_of_level = self._reach[start:end].masked_fill(~kept[start:end], -torch.inf)
        best = reach_of_level.sort(descending=True, stable=True)
        there = best.values[:front] > -torch.inf
        place = best.indices[:front].masked_fill(~there, end - start).sort().values
        there = place < end - start
        place = place.clamp(max=end - start - 1)
        above = place + start
        mass = self._reach[above].exp().masked_fill(~there, 0.0).sum()
        alive = there.any() & (mass >= self._shape.stop)
        if level:
            alive = alive & self._alive[level - 1]
        self._alive[level].copy_(alive)
        self._above[level].copy_(above)
        self._there[level].copy_(there & alive)
        self._rows[level].copy_(place // width)
        self._feed[level].copy_(self._token[above])
        sees = torch.eye(front, dtype=torch.bool, device=self._device)
        if level:
            sees = torch.cat([self._masks[level - 1][place // width], sees], dim=1)
        self._masks[level].copy_(sees)

    def _choose_tree(self) -> tuple[torch.Tensor, ...]:
        """The best of all candidates, branch by branch: an accepted path then mostly needs no move in the cache.

        Token, validity, log-probability and entropy of each, then the tensors of `GrownTreeIndex`.
        """
        size, shape = self._size, self._shape
        # Fed nodes have slots; those that are missing write theirs into the bin.
        for level in range(self._depth - 1):
            place = torch.where(self._there[level], self._above[level], len(self._reach))
            self._slot.index_copy_(
                0, place, level * self._front + torch.arange(self._front, device=self._device)
            )
        order = self._reach.sort(descending=True, stable=True)
        index, reach = order.indices[:size], order.values[:size]
        valid = reach > -torch.inf
        if shape.floor > 0.0:
            likely = (reach >= math.log(shape.floor)).sum()
            valid = valid & (torch.arange(size, device=self._device) < likely.clamp(min=shape.least))
        last = torch.iinfo(torch.int64).max
        turn = self._code[index].masked_fill(~valid, last).sort(stable=True).indices
        index, valid = index[turn], valid[turn]
        every = torch.arange(size, device=self._device)
        new = torch.full((len(self._reach) + 1,), ROOT, dtype=torch.int64, device=self._device)
        new.index_copy_(0, index, every)
        # The root, parent of the first level, is the last entry.
        parent = new[self._parent[index]].masked_fill(~valid, ROOT)
        rank = self._rank[index]
        ancestors = self._ancestors(parent)
        return (
            self._token[index].masked_fill(~valid, 0), valid, self._logprob[index], self._nats[index],
            parent, rank, self._slot[index].masked_fill(~valid, ROOT), ancestors,
            self._table(parent, rank, valid), self._deep[index].masked_fill(~valid, 1), _with_root(ancestors),
        )  # fmt: skip

    def _ancestors(self, parent: torch.Tensor) -> torch.Tensor:
        """``[N, N]``, true where the column is the row's ancestor or itself."""
        size = len(parent)
        above = torch.eye(size, size + 1, dtype=torch.bool, device=self._device)  # the last column is a bin
        node = parent
        for _ in range(self._depth - 1):
            above.scatter_(1, torch.where(node >= 0, node, size)[:, None], True)
            node = torch.where(node >= 0, parent[node], ROOT)
        return above[:, :size].contiguous()

    def _table(self, parent: torch.Tensor, rank: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """See `decoding.device.acceptance.children_table`."""
        size, width = len(parent), self._width
        bins = (size + 1) * width
        flat = torch.full((bins + 1,), ROOT, dtype=torch.int64, device=self._device)
        place = ((parent + 1) * width + rank).masked_fill(~valid, bins)
        flat.index_copy_(0, place, torch.arange(size, device=self._device))
        return flat[:bins].view(size + 1, width)


def _with_root(ancestors: torch.Tensor) -> torch.Tensor:
    """``[N + 1, N + 1]`` of ``[N, N]``: all nodes see the root, which sees itself alone."""
    size = len(ancestors)
    out = torch.zeros(size + 1, size + 1, dtype=torch.bool, device=ancestors.device)
    out[:, 0] = True
    out[1:, 1:] = ancestors
    return out
