"""RMS norms as one operator instead of six: a small forward is as much calls as arithmetic."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

SAME_AS_TORCH = {"LlamaRMSNorm", "MistralRMSNorm", "Qwen2RMSNorm", "Qwen3RMSNorm"}
"""transformers' norms that compute what `torch.nn.functional.rms_norm` does. Others scale by 1 + weight."""


class FusedRMSNorm(nn.Module):
    """``weight * x / sqrt(mean(x^2) + eps)`` over the last dimension, float32, inference only."""

    def __init__(self, weight: torch.Tensor, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.detach(), requires_grad=False)
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``[..., H] -> [..., H]``."""
        return unit_rms(x, self.eps).mul_(self.weight)


def unit_rms(x: torch.Tensor, eps: float) -> torch.Tensor:
    """``x / sqrt(mean(x^2) + eps)`` over the last dimension, a new tensor.

    On a CPU `torch.nn.functional.rms_norm` is eight operators, and few rows are all overhead.
    """
    out: torch.Tensor = (
        x * torch.linalg.vecdot(x, x).unsqueeze_(-1).mul_(1.0 / x.shape[-1]).add_(eps).rsqrt_()
    )
    return out


def torch_norm(norm: Any) -> nn.RMSNorm:
    """One of `SAME_AS_TORCH` as torch's own, which is one kernel on a GPU.

    In half precision it rounds once, behind the weight, where transformers' rounds before it too.
    """
    weight = norm.weight.detach()
    fused = nn.RMSNorm(weight.shape[-1], float(norm.variance_epsilon), device="meta")
    fused.weight = nn.Parameter(weight, requires_grad=False)
    return fused


def fuse_norms(model: nn.Module) -> int:
    """Replace the norms in `model` that torch computes alike; returns how many.

    On a CPU in float32 by `FusedRMSNorm`; half precision is left alone there. On a GPU by `torch_norm`.
    """
    count = 0
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            norm: Any = child
            if type(norm).__name__ not in SAME_AS_TORCH:
                continue
            if norm.weight.device.type == "cuda":
                setattr(module, name, torch_norm(norm))
            elif norm.weight.dtype == torch.float32:
                setattr(module, name, FusedRMSNorm(norm.weight, float(norm.variance_epsilon)))
            else:
                continue
            count += 1
    return count
