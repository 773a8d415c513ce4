"""Growth of a drafter's trees on the device; of a static one all but the tokens is known beforehand."""

from __future__ import annotations

from collections.abc import Callable

import torch

from spectui.decoding.device.dynamic_tree import DynamicGrowth
from spectui.decoding.device.graphs import Graphs
from spectui.decoding.device.tree import DeviceTree, ScoreTensors
from spectui.decoding.device.tree_index import TreeIndex, tree_index
from spectui.decoding.drafters.expansion import Expander
from spectui.decoding.target.distributions import distribution
from spectui.decoding.trees.shape import BoolArray, Draw, DynamicShape, IntArray, TreeShape

KEPT = 16
"""Dynamic shapes, each with a depth, whose buffers are kept: a run with a tree for each task goes through a few."""


class TreeGrower:
    """Grows the trees of `expander` on the device; `ids` are its, there. `product` is true for a draft whose
    distributions depend on the depth alone, and which scores one row for all nodes of a level."""

    def __init__(
        self,
        expander: Expander,
        device: torch.device,
        ids: torch.Tensor | None = None,
        *,
        product: bool = False,
    ) -> None:
        self._product = product
        self._expander, self._device, self._ids = expander, device, ids
        self.graphs = Graphs(device)
        self._growths: dict[tuple[DynamicShape, int], DynamicGrowth] = {}

    def fits(self, depth: int) -> bool:
        """True when a tree of the current shape, at most `depth` deep, can be grown."""
        shape = self._expander.shape
        if isinstance(shape, TreeShape):
            return True
        return DynamicGrowth.fits(shape, min(depth, shape.max_depth), self._expander.columns)

    def grow(
        self,
        depth: int,
        root_logits: torch.Tensor,
        score: ScoreTensors,
        confidence: Callable[[], torch.Tensor] | None = None,
    ) -> DeviceTree:
        """A tree at most `depth` deep from the draft's logits after the root, ``[1, W]``; `confidence` as of
        `Expander.grow`."""
        expander, shape = self._expander, self._expander.shape
        if isinstance(shape, DynamicShape):
            return self._growth(shape, min(depth, shape.max_depth)).grow(root_logits, score, confidence)
        index = tree_index(shape.trimmed(depth), self._device)
        generator = expander.generator if expander.drawn else None
        return _grow_static(index, root_logits, score, expander.vocab_size, self._law, generator, self._ids)

    def grow_product(self, depth: int, logits: torch.Tensor) -> DeviceTree:
        """A tree at most `depth` deep of the logits of depth 1, 2, ... ``[D, W]``."""

        def score(
            token: torch.Tensor, deep: IntArray, mask: BoolArray | torch.Tensor, above: torch.Tensor
        ) -> torch.Tensor:
            level = int(deep[0])  # all nodes of a call are of one depth
            return logits[level : level + 1]

        return self.grow(min(depth, len(logits)), logits[:1], score)

    def _law(self, logits: torch.Tensor) -> torch.Tensor:
        return distribution(logits, self._expander.temperature, self._expander.top_p, wait=False)

    def _growth(self, shape: DynamicShape, depth: int) -> DynamicGrowth:
        if (shape, depth) not in self._growths:
            if len(self._growths) == KEPT:
                self._growths.clear()
                self.graphs.forget()
            columns = self._expander.columns
            self._growths[shape, depth] = DynamicGrowth(
                shape, depth, columns, self._ids, self._law, self.graphs, self._device, product=self._product
            )
        return self._growths[shape, depth]


def _grow_static(
    index: TreeIndex,
    root_logits: torch.Tensor,
    score: ScoreTensors,
    vocab_size: int,
    distribution: Callable[[torch.Tensor], torch.Tensor],
    generator: torch.Generator | None,
    ids: torch.Tensor | None = None,
) -> DeviceTree:
    """The shape of `index` filled level by level from the draft's logits after the root, ``[1, W]``.

    `ids` ``[W]`` are the target's tokens of the draft's, None where they are the same. With a `generator` children are
    drawn without replacement, else the likeliest are taken, as `decoding.drafters.expansion.Expander` does.
    Logits of one row are those of all nodes.
    """
    device, size = root_logits.device, index.size
    token = torch.zeros(size, dtype=torch.int64, device=device)
    valid = torch.zeros(size, dtype=torch.bool, device=device)
    logprob = torch.full((size,), -torch.inf, dtype=torch.float64, device=device)
    nats = torch.zeros(size, dtype=torch.float64, device=device)
    rows = None if generator is None else torch.full((size + 1, vocab_size), torch.nan, device=device)
    logits = root_logits
    for level in index.levels:
        q = distribution(logits)
        q = q.expand(len(level.places), -1)
        if generator is not None and rows is not None:
            if ids is None:
                rows[:, : q.shape[1]].index_copy_(0, level.places, q)
                rows[:, q.shape[1] :].index_fill_(0, level.places, 0.0)
            else:
                rows.index_copy_(0, level.places, q.new_zeros(len(q), vocab_size).index_copy_(1, ids, q))
            chosen = (
                (q / torch.empty_like(q).exponential_(generator=generator)).topk(level.width, dim=-1).indices
            )
        else:
            chosen = q.topk(level.width, dim=-1).indices
        picked = q.gather(1, chosen)
        entropy = torch.special.entr(q).sum(-1).double()
        columns = chosen[level.row, level.rank]
        token.index_copy_(0, level.nodes, columns if ids is None else ids[columns])
        likely = picked[level.row, level.rank].double()
        logprob.index_copy_(0, level.nodes, likely.log().clamp(max=0.0))
        nats.index_copy_(0, level.nodes, entropy.index_select(0, level.row))
        fine = likely > 0.0
        if level.parents is not None:
            fine = fine & valid.index_select(0, level.parents)
        valid.index_copy_(0, level.nodes, fine)
        if level.below:
            logits = score(token.index_select(0, level.feed), level.depth, level.mask, level.above)
    draw: Draw = "deterministic" if generator is None else "without_replacement"
    return DeviceTree(index, token, valid, logprob, nats, rows, draw, fed=True)
