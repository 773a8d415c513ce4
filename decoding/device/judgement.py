"""The judgement of a round on the device, captured in a few sizes: trees of all others lie in the next larger one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from spectui.decoding.device.acceptance import (
    Accepted,
    accept_greedy,
    accept_sampling,
    accept_target_draws,
)
from spectui.decoding.device.figures import RoundFigures, pack, unpack
from spectui.decoding.device.graphs import Graphs
from spectui.decoding.device.model import padded_rows
from spectui.decoding.device.transfer import pinned
from spectui.decoding.device.tree import DeviceTree
from spectui.decoding.rounds import Rules
from spectui.decoding.target.distributions import distribution
from spectui.decoding.trees.shape import ROOT, Draw

KEPT = 16
"""Sizes whose buffers and graphs are kept: a run with a tree for each task goes through a few."""

_OF_TREE = ("token", "valid", "logprob", "entropy", "rows")
_OF_INDEX = ("parent", "rank", "slot", "ancestors", "table")


@dataclass(frozen=True)
class Size:
    """A size that trees are judged in, and the rule that their draws require."""

    nodes: int
    depth: int
    width: int
    """Children that were drawn below one node; 0 where none were."""
    draw: Draw

    @classmethod
    def of(cls, tree: DeviceTree) -> Size:
        """The size for `tree`: a surplus node costs next to nothing, each size a capture."""
        index = tree.index
        nodes = padded_rows(index.size + 1) - 1
        depth = 1 << max(index.max_depth - 1, 0).bit_length() if index.size else 0
        return cls(nodes, min(depth, nodes), 0 if tree.rows is None else index.width, tree.draw)


class Judge:
    """Judges rounds by `rules`: everything between the target's logits and the transfer to the host."""

    def __init__(self, rules: Rules, device: torch.device) -> None:
        self._rules = rules
        self.graphs = Graphs(device)
        self._buffers: dict[Size, _Buffers] = {}
        self._nodes = 0
        """Of the size that was judged last."""

    def judge(
        self, tree: DeviceTree, logits: torch.Tensor, rng: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The figures of the round, packed (see `figures_of`), and the slots of the path in the cache."""
        size = Size.of(tree)
        self._nodes = size.nodes
        if size not in self._buffers:
            if len(self._buffers) == KEPT:
                self._buffers.clear()
                self.graphs.forget()
            self._buffers[size] = _Buffers.allocate(size, tree, logits)
        buffers = self._buffers[size]
        uniforms = None
        if not self._rules.greedy:
            uniforms = pinned(rng.random(tree.index.size + 1), logits.device)
        buffers.load(tree, logits, uniforms)
        judged: tuple[torch.Tensor, torch.Tensor] = self.graphs.run(
            size, lambda: _judge(self._rules, size, buffers)
        )
        return judged

    def figures_of(self, packed: Sequence[float]) -> RoundFigures[NDArray[Any]]:
        """The figures of the nodes of the tree that was judged last, and of those that fill its size up, which are not
        valid."""
        return unpack(packed, self._nodes)


@dataclass
class _Buffers:
    """Inputs of judgements of one size: the same tensors every time, as a captured graph needs them."""

    tensors: dict[str, torch.Tensor]
    blank: dict[str, torch.Tensor]
    """Those of them that are not zero for a tree without nodes: the nodes that fill a size up lie below the root, and
    are not valid."""
    loaded: int = -1
    """Nodes of the tree that was loaded last."""

    @classmethod
    def allocate(cls, size: Size, tree: DeviceTree, logits: torch.Tensor) -> _Buffers:
        """Buffers for trees of a size that are like `tree`."""
        nodes, device = size.nodes, logits.device
        tensors = {
            name: tensor.new_empty(nodes)
            for name in (*_OF_TREE, *_OF_INDEX)
            if (tensor := getattr(tree if name in _OF_TREE else tree.index, name)) is not None
            and tensor.dim() == 1
        }
        tensors["logits"] = logits.new_empty(nodes + 1, logits.shape[1])
        tensors["uniforms"] = torch.empty(nodes + 1, dtype=torch.float64, device=device)
        blank = {
            "parent": torch.full_like(tensors["parent"], ROOT),
            "ancestors": torch.eye(nodes, dtype=torch.bool, device=device),
        }
        if tree.rows is not None:
            tensors["rows"] = tree.rows.new_empty(nodes + 1, tree.rows.shape[1])
            # Every node has a place in the table: these are children of their own, which nothing leads to.
            blank["table"] = torch.full((nodes + 1, size.width), ROOT, device=device)
            blank["table"][1:, 0] = torch.arange(nodes, device=device)
        return cls(tensors | {name: torch.empty_like(tensor) for name, tensor in blank.items()}, blank)

    def load(self, tree: DeviceTree, logits: torch.Tensor, uniforms: torch.Tensor | None) -> None:
        """Copy the tensors of a round into the buffers."""
        if tree.index.size != self.loaded:
            for name, tensor in self.tensors.items():
                if name in self.blank:
                    tensor.copy_(self.blank[name])
                else:
                    tensor.zero_()
            self.loaded = tree.index.size
        for name, tensor in self.tensors.items():
            if name == "logits":
                values: torch.Tensor | None = logits
            elif name == "uniforms":
                values = uniforms
            else:
                values = getattr(tree if name in _OF_TREE else tree.index, name)
            if values is not None:
                part = tensor[tuple(slice(length) for length in values.shape)]
                part.copy_(values, non_blocking=True)


def _judge(rules: Rules, size: Size, buffers: _Buffers) -> tuple[torch.Tensor, torch.Tensor]:
    tensors = buffers.tensors
    token, parent, valid = tensors["token"], tensors["parent"], tensors["valid"]
    top, best = tensors["logits"].max(-1)
    p = distribution(tensors["logits"], rules.temperature, rules.top_p, wait=False)
    nodes = (token, parent, tensors["ancestors"])
    if rules.greedy:
        accepted = accept_greedy(*nodes, valid, best)
    elif "rows" in tensors:
        accepted = accept_sampling(*nodes, tensors["table"], valid, p, tensors["rows"], tensors["uniforms"])
    else:
        accepted = accept_target_draws(*nodes, valid, p, tensors["uniforms"])
    row = parent + 1
    figures = RoundFigures(
        token=token,
        parent=parent,
        rank=tensors["rank"],
        slot=tensors["slot"],
        valid=valid,
        logprob=tensors["logprob"],
        draft_entropy=tensors["entropy"],
        on_path=accepted.on_path,
        target_p=p[row].gather(1, token[:, None])[:, 0],
        target_entropy=torch.special.entr(p).sum(-1).double()[row],
        best=best,
        bonus=accepted.bonus[None],
        draws=accepted.draws[None],
        finite=top.isfinite().all()[None],
    )
    return pack(figures), _path_slots(accepted, size.depth)


def _path_slots(accepted: Accepted, depth: int) -> torch.Tensor:
    """The slots of the path in the cache, the root first, ``[depth + 1]``; behind the path slots stay as they are."""
    size = len(accepted.on_path)
    place = torch.arange(depth + 1, device=accepted.on_path.device)
    if not size:
        return place
    order = torch.where(accepted.on_path, torch.arange(1, size + 1, device=place.device), size + 1)
    order = order.sort().values[:depth]
    return torch.cat([place[:1], torch.where(order <= size, order, place[1:])])
