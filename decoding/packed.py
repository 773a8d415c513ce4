"""Linear layers with weights packed once, for CPU decoding in float32.

At 2 to 32 rows PyTorch's float32 matmul repacks the whole weight matrix at every call, which makes
verifying a small tree cost twice a single step. oneDNN can keep the packed form. Measured by
`tests/bench/verify_curve.py`.
"""

from __future__ import annotations

import torch
from torch import nn

_ROWS_HINT = 8
"""Rows the packed layout is chosen for: the size of a small tree. It works for any number."""


class PackedLinear(nn.Module):
    """``y = x W^T + b`` with W in oneDNN's blocked layout, float32, inference only."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.bias = linear.bias
        self.packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), _ROWS_HINT)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``[..., in_features] -> [..., out_features]``."""
        return torch.ops.mkldnn._linear_pointwise(x, self.packed, self.bias, "none", [], "")  # type: ignore[no-any-return]

    def plus(self, x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """``forward(x) + other``, added while it is written."""
        return torch.ops.mkldnn._linear_pointwise.binary(x, other, self.packed, self.bias, "add")  # type: ignore[no-any-return]


def can_pack() -> bool:
    """Whether this build of PyTorch has the oneDNN operators that packing needs."""
    available: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return available and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")


def pack_linears(model: nn.Module) -> int:
    """Replace every float32 CPU `nn.Linear` in `model` by a `PackedLinear`; returns how many.

    The unpacked weights are released, except those shared with an embedding. The result is numerically
    another summation order of the same product, not another product.
    """
    if not can_pack():
        return 0
    count = 0
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if (
                type(child) is nn.Linear
                and child.weight.device.type == "cpu"
                and child.weight.dtype == torch.float32
            ):
                setattr(module, name, PackedLinear(child))
                count += 1
    return count
