"""EAGLE heads made faster for decoding in float32 on a CPU."""

from __future__ import annotations

import torch
from torch import nn

from spectui.decoding.eagle.first import FirstEagleHead
from spectui.decoding.eagle.head import EagleHead
from spectui.decoding.heads.lean import AngleTable, LeanDraftLayer
from spectui.decoding.target.norms import FusedRMSNorm
from spectui.decoding.target.packed import can_pack, pack_linears


def use_lean_head(head: EagleHead) -> None:
    """Give a float32 head on the CPU `LeanDraftLayer`s and pack its weights; other heads stay as they are."""
    if head.table is not None or not can_pack():
        return
    config = head.config
    if head.dtype == torch.float32 and head.draft_ids.device.type == "cpu":
        head.layers = nn.ModuleList(
            LeanDraftLayer(layer, i, normed_residual=config.norm_before_residual and i == 0)
            for i, layer in enumerate(head.layers)
        )
        head.table = AngleTable(head.rotary, config.head_dim)
        head.norm = FusedRMSNorm(head.norm.weight, config.rms_norm_eps)  # type: ignore[assignment]
    pack_linears(head)


def use_lean_first_head(head: FirstEagleHead) -> None:
    """As `use_lean_head`, of an EAGLE-1 head."""
    if head.table is not None or not can_pack():
        return
    if head.dtype == torch.float32 and head.draft_ids.device.type == "cpu":
        head.layers = nn.ModuleList(LeanDraftLayer(layer, i) for i, layer in enumerate(head.layers))
        head.table = AngleTable(head.rotary, head.config.head_dim)
    pack_linears(head)
