"""Trees whose values stay on the device, and the drafters that leave them there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch

from spectui.decoding.device.graphs import Graphs
from spectui.decoding.device.transfer import upload
from spectui.decoding.device.tree_index import GrownTreeIndex, TreeIndex, tree_index
from spectui.decoding.drafters.base import Drafter
from spectui.decoding.trees.shape import BoolArray, Draw, IntArray, TokenTree, TreeShape

ScoreTensors = Callable[[torch.Tensor, IntArray, BoolArray | torch.Tensor, torch.Tensor], torch.Tensor]
"""``score(token, depth, mask, above)`` as `decoding.drafters.expansion.Score`; tokens and `above` are on the device,
the mask on either side."""


@dataclass(frozen=True)
class DeviceTree:
    """A `TokenTree` whose values are still on the device.

    `token`, `valid`, `logprob` and `entropy` are ``[N]``, `rows` ``[N + 1, V]`` where children were drawn. A node
    without probability is not valid, nor is anything below it.
    """

    index: TreeIndex | GrownTreeIndex
    token: torch.Tensor
    valid: torch.Tensor
    logprob: torch.Tensor
    entropy: torch.Tensor
    rows: torch.Tensor | None
    draw: Draw
    fed: bool
    """True when the draft was fed the nodes at the slots of `index`."""

    @classmethod
    def of(cls, tree: TokenTree, device: torch.device) -> DeviceTree:
        """A tree that was grown on the host, brought to the device."""
        index = tree_index(TreeShape("", tree.parent, tree.depth, tree.rank), device)

        return cls(
            index,
            upload(tree.token, device),
            torch.ones(tree.size, dtype=torch.bool, device=device),
            upload(tree.draft_logprob, device),
            upload(tree.draft_entropy, device),
            None if tree.draft_rows is None else upload(tree.draft_rows, device),
            tree.draw,
            fed=False,
        )


@runtime_checkable
class DeviceDrafter(Drafter, Protocol):
    """A drafter that leaves its trees on the device."""

    @property
    def graphs(self) -> tuple[Graphs, ...]:
        """Everything that it captures."""

    def reserve(self, tokens: int, context: int) -> None:
        """Make room for a sequence of at most `tokens`, in the target's `context`; `begin` follows."""

    def propose_tensors(self, root: int, max_depth: int) -> DeviceTree | None:
        """The tree of `propose`; None when there is none, or when only `propose` can grow it."""

    def set_slots(self, slots: Sequence[int]) -> None:
        """The slot at which each node of the tree was fed, -1 for none; `observe` follows."""

    def settle(self) -> None:
        """Take note that the device has come past all forwards, so that their times are known."""
