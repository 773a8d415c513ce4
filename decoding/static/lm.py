"""The `lm` drafter on a `StaticModel`: static trees are grown without waiting for the device."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch

from decoding.drafters.lm import LMDrafter
from decoding.static.capture import Graphs
from decoding.static.draft import DeviceTree, grow
from decoding.static.figures import distribution
from decoding.static.model import StaticModel
from decoding.static.plan import plan_of
from decoding.tree import BoolArray, IntArray, TreeShape


class StaticLMDrafter(LMDrafter):
    """As `LMDrafter`; `propose_tensors` leaves the tree on the device."""

    _model: StaticModel

    @property
    def graphs(self) -> tuple[Graphs, ...]:
        """All that it captures."""
        return self._model.graphs, self._model.moving

    @torch.inference_mode()
    def propose_tensors(self, root: int, max_depth: int) -> DeviceTree | None:
        """The tree of `propose`; None where that has to grow it: dynamic trees, and when there is none."""
        shape = self._expander.shape
        room = self._model.context - self._model.length - len(self._pending)
        depth = min(max_depth, room)
        if not isinstance(shape, TreeShape) or depth < 1 or not self._can_name(self._pending):
            return None
        count = len(self._pending)
        pending = np.asarray(self._pending, dtype=np.int64)
        logits = self._logits(pending, np.arange(count), np.tri(count, dtype=np.bool_))[-1:]
        self._model.keep(range(count))
        self._pending = []
        expander = self._expander
        return grow(
            plan_of(shape.trimmed(depth), self._model.device),
            logits,
            self._score_tensors,
            expander.vocab_size,
            partial(distribution, temperature=expander.temperature, top_p=expander.top_p),
            expander.generator if expander.drawn else None,
        )

    def settle(self, tree: DeviceTree, index: dict[int, int]) -> None:
        """Learn the numbers that the nodes of `tree` have got (see `DeviceTree.at_home`); `observe` follows."""
        self._slot = {index[node]: slot for node, slot in tree.fed.items() if node in index}

    def _score_tensors(self, token: torch.Tensor, depth: IntArray, mask: BoolArray) -> torch.Tensor:
        scored = self._model.append_tensors(token, depth - 1, mask)
        assert scored.logits is not None
        return scored.logits[:, : self._named]
