"""DFlash heads made faster for decoding in float32 on a CPU."""

from __future__ import annotations

import torch
from torch import nn

from spectui.decoding.block.head import BlockHead
from spectui.decoding.target.norms import FusedRMSNorm
from spectui.decoding.target.packed import can_pack, pack_linears


def use_lean_block(head: BlockHead) -> None:
    """Pack the weights of a float32 head on the CPU and fuse its norms; other heads stay as they are."""
    if not can_pack() or head.dtype != torch.float32 or head.draft_ids.device.type != "cpu":
        return
    for module in list(head.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.RMSNorm):
                setattr(module, name, FusedRMSNorm(child.weight, float(child.eps or 0.0)))
    pack_linears(head)
