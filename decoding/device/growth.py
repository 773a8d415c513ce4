"""Growth of a drafter's trees on the device, static or dynamic as its shape is."""

from __future__ import annotations

import torch

from spectui.decoding.device.dynamic_tree import DynamicGrowth
from spectui.decoding.device.graphs import Graphs
from spectui.decoding.device.static_tree import grow_static
from spectui.decoding.device.tree import DeviceTree, ScoreTensors
from spectui.decoding.device.tree_index import tree_index
from spectui.decoding.drafters.expansion import Expander
from spectui.decoding.target.distributions import distribution
from spectui.decoding.trees.shape import BoolArray, DynamicShape, IntArray, TreeShape

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

    def grow(self, depth: int, root_logits: torch.Tensor, score: ScoreTensors) -> DeviceTree:
        """A tree at most `depth` deep from the draft's logits after the root, ``[1, W]``."""
        expander, shape = self._expander, self._expander.shape
        if isinstance(shape, DynamicShape):
            return self._growth(shape, min(depth, shape.max_depth)).grow(root_logits, score)
        index = tree_index(shape.trimmed(depth), self._device)
        generator = expander.generator if expander.drawn else None
        return grow_static(index, root_logits, score, expander.vocab_size, self._law, generator, self._ids)

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
