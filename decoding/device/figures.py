"""A round's figures: computed on the device, brought to the host in one transfer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from spectui.decoding.trees.shape import ROOT, Draw, IntArray, TokenTree

Values = TypeVar("Values", torch.Tensor, NDArray[Any])

_INTEGER: dict[str, Any] = {"dtype": np.int64, "count": lambda size: size}
_NUMBER, _FLAG = _INTEGER | {"dtype": np.float64}, _INTEGER | {"dtype": np.bool_}
_PER_ROW = {"count": lambda size: size + 1}
_SINGLE = {"count": lambda size: 1}


@dataclass(frozen=True)
class RoundFigures(Generic[Values]):
    """The figures of a round whose tree has N nodes: tensors on the device, arrays on the host.

    Every one is ``[N]`` but for `best`, ``[N + 1]``, and the last three, which are ``[1]``.
    """

    token: Values = field(metadata=_INTEGER)
    parent: Values = field(metadata=_INTEGER)
    rank: Values = field(metadata=_INTEGER)
    slot: Values = field(metadata=_INTEGER)
    """The slot at which the draft was fed the node; -1 where it was not."""
    valid: Values = field(metadata=_FLAG)
    """False for nodes without probability, which the tree does not have."""
    logprob: Values = field(metadata=_NUMBER)
    draft_entropy: Values = field(metadata=_NUMBER)
    on_path: Values = field(metadata=_FLAG)
    target_p: Values = field(metadata=_NUMBER)
    target_entropy: Values = field(metadata=_NUMBER)
    best: Values = field(metadata=_INTEGER | _PER_ROW)
    """The target's argmax after the root and after each node."""
    bonus: Values = field(metadata=_INTEGER | _SINGLE)
    draws: Values = field(metadata=_INTEGER | _SINGLE)
    """Uniform numbers that the verdict took."""
    finite: Values = field(metadata=_FLAG | _SINGLE)


def pack(figures: RoundFigures[torch.Tensor]) -> torch.Tensor:
    """All figures side by side, for one transfer. Token ids are exact in float64."""
    return torch.cat([getattr(figures, column.name).double() for column in fields(figures)])


def unpack(packed: Sequence[float], size: int) -> RoundFigures[NDArray[Any]]:
    """The figures that `pack` put together, of a tree of `size` nodes."""
    values, columns, start = np.asarray(packed), {}, 0
    for column in fields(RoundFigures):
        end = start + column.metadata["count"](size)
        columns[column.name] = values[start:end].astype(column.metadata["dtype"])
        start = end
    return RoundFigures(**columns)


def host_tree(figures: RoundFigures[NDArray[Any]], draw: Draw) -> tuple[TokenTree, IntArray]:
    """The tree of the valid nodes, and their numbers ``[n]`` among all N."""
    kept = np.flatnonzero(figures.valid)
    number = {ROOT: ROOT} | {int(old): new for new, old in enumerate(kept)}
    parent = [number[int(above)] for above in figures.parent[kept]]
    depth: list[int] = []
    for above in parent:
        depth.append(1 if above == ROOT else depth[above] + 1)
    tree = TokenTree(
        token=figures.token[kept],
        parent=np.asarray(parent, dtype=np.int64),
        depth=np.asarray(depth, dtype=np.int64),
        rank=figures.rank[kept],
        draft_logprob=figures.logprob[kept],
        draft_entropy=figures.draft_entropy[kept],
        draw=draw,
    )
    return tree, kept
