"""Linear layers with weights packed once, for CPU decoding in float32.

At 2 to 32 rows PyTorch's float32 matmul repacks the whole weight matrix at every call, which makes
verifying a small tree cost twice a single step. oneDNN can keep the packed form; and where every weight is
a half-precision number, as in most published checkpoints, FBGEMM reads the halves and computes in float32:
the same product from half of the memory. Measured by `tests/bench/verify_curve.py`.
"""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

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


class HalfLinear(nn.Module):
    """``y = x W^T + b`` in float32 with W kept as halves, which it must consist of; inference only."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        bias = None if linear.bias is None else linear.bias.detach()
        self.packed = torch.ops.quantized.linear_prepack_fp16(linear.weight.detach(), bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``[..., in_features] -> [..., out_features]``."""
        return torch.ops.quantized.linear_dynamic_fp16(x, self.packed)  # type: ignore[no-any-return]

    def plus(self, x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """``forward(x) + other``."""
        return self(x).add_(other)  # type: ignore[no-any-return]


def packed(linear: nn.Linear) -> PackedLinear | HalfLinear:
    """A float32 layer on the CPU in the faster form that computes the same."""
    return as_halves(linear) or PackedLinear(linear)


def as_halves(linear: nn.Linear) -> HalfLinear | None:
    """The layer as halves if each of its weights is a half-precision number, so that nothing is lost; else None."""
    if not _has_half_products():
        return None
    weight = linear.weight.detach()
    return HalfLinear(linear) if torch.equal(weight.half().float(), weight) else None


def can_pack() -> bool:
    """True when this build of PyTorch has the oneDNN operators that packing needs."""
    available: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return available and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")


@cache
def _has_half_products() -> bool:
    """True when FBGEMM's half-precision product works, which takes x86 with AVX2; a later PyTorch may drop it."""
    linear = nn.Linear(2, 1)
    try:
        linear.weight.data.fill_(0.5)
        return torch.allclose(HalfLinear(linear)(torch.ones(1, 2)), linear(torch.ones(1, 2)))
    except (AttributeError, RuntimeError):
        return False


@cache
def _reads_weight(python_module: str, name: str) -> bool:
    """True when layers of `python_module` read the weight of their linear layer `name`, which packing removes."""
    file = getattr(sys.modules.get(python_module), "__file__", None)
    return file is not None and f"self.{name}.weight" in _source(file)


@cache
def _source(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8")
    except OSError:
        return ""


def pack_linears(model: nn.Module) -> int:
    """Replace every float32 CPU `nn.Linear` in `model` by its `packed` form; returns how many.

    Layers whose weight the model reads by itself stay as they are. The unpacked weights are released, except those
    shared with an embedding. The product is the same up to the order of summation.
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
                and not _reads_weight(type(module).__module__, name)
            ):
                setattr(module, name, packed(child))
                count += 1
    return count
