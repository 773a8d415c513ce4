"""The linear layers of lean layers: packed for a CPU in float32, or merged for a GPU in the model's own type.

On a GPU every operation is a kernel, and a forward of few rows is as much kernels as arithmetic. Quantised layers keep
their weights and their products.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import nn
from torch.nn.functional import linear, rms_norm
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from spectui.decoding.target.norms import torch_norm, unit_rms
from spectui.decoding.target.packed import HalfLinear, PackedLinear, as_halves, can_pack, packed


class Parts(Protocol):
    """Builds the parts of a lean layer."""

    at_once: int
    """Layers that are built side by side; each is in memory twice meanwhile."""

    def fits(self, layer: nn.Module) -> bool:
        """True when the parts of `layer` can be built."""

    def normed(self, norm: Any, *linears: Any) -> Any:
        """`linears` side by side behind an RMS norm: a module that can also return the outputs as `halves`."""

    def added(self, linear: Any) -> Any:
        """`linear` as a module with `plus`, its output added to something."""

    def unit_rms(self, x: torch.Tensor, eps: float) -> torch.Tensor:
        """``x / sqrt(mean(x^2) + eps)`` over the last dimension, a new tensor."""


class PackedParts:
    """Parts for a CPU. Packing runs on one thread, and is most of the time of tuning a model."""

    at_once = 2

    def fits(self, layer: nn.Module) -> bool:
        """See `Parts.fits`."""
        linears = [m for m in layer.modules() if isinstance(m, nn.Linear)]
        return can_pack() and len(linears) == 7 and all(map(_is_plain_float32, linears))

    def normed(self, norm: Any, *linears: Any) -> NormedLinear:
        """See `Parts.normed`."""
        return NormedLinear(norm.weight, *linears, eps=float(norm.variance_epsilon))

    def added(self, linear: Any) -> PackedLinear | HalfLinear:
        """See `Parts.added`."""
        return packed(linear)

    def unit_rms(self, x: torch.Tensor, eps: float) -> torch.Tensor:
        """See `Parts.unit_rms`."""
        return unit_rms(x, eps)


class MergedParts:
    """Parts for a GPU."""

    at_once = 1

    def fits(self, layer: nn.Module) -> bool:
        """See `Parts.fits`. Of a model that is spread over GPUs accelerate moves the inputs of each layer."""
        devices = {tensor.device for tensor in (*layer.parameters(), *layer.buffers())}
        return len(devices) == 1 and not any(hasattr(module, "_hf_hook") for module in layer.modules())

    def normed(self, norm: Any, *linears: Any) -> NormedParts:
        """See `Parts.normed`."""
        return NormedParts(norm, *linears)

    def added(self, linear: Any) -> AddedLinear | KeptLinears:
        """See `Parts.added`."""
        return AddedLinear(linear) if _is_plain(linear) else KeptLinears(linear)

    def unit_rms(self, x: torch.Tensor, eps: float) -> torch.Tensor:
        """See `Parts.unit_rms`."""
        return rms_norm(x, x.shape[-1:], None, eps)


class NormedLinear(nn.Module):
    """Linear layers side by side behind an RMS norm, whose weight is multiplied into theirs unless they are halves.

    Without `eps` the input is divided by its root mean square already, and is overwritten.
    """

    def __init__(self, norm: torch.Tensor, *parts: nn.Linear, eps: float | None = None) -> None:
        super().__init__()
        whole = _side_by_side(*parts)
        product: PackedLinear | HalfLinear | None = as_halves(whole)
        self.scale = None if product is None else norm.detach()
        self.eps = eps
        if product is None:
            whole.weight.data *= norm.detach()
            product = PackedLinear(whole)
        self.product = product

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``[..., H] -> [..., outputs of all parts]``."""
        if self.eps is not None:
            x = unit_rms(x, self.eps)
        return self.product(x if self.scale is None else x.mul_(self.scale))  # type: ignore[no-any-return]

    def halves(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The outputs of two parts of one size."""
        first, second = self(x).chunk(2, -1)
        return first, second


class NormedParts(nn.Module):
    """Linear layers, merged or kept, behind an RMS norm."""

    def __init__(self, norm: Any, *parts: nn.Module) -> None:
        super().__init__()
        self.norm, self.parts = torch_norm(norm), _merged(*parts)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``[..., H] -> [..., outputs of all parts]``."""
        return self.parts(self.norm(x))  # type: ignore[no-any-return]

    def halves(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The outputs of two parts of one size."""
        return self.parts.halves(self.norm(x))


class MergedLinear(nn.Module):
    """``y = x W^T + b`` of linear layers side by side; inference only."""

    def __init__(self, *parts: nn.Linear) -> None:
        super().__init__()
        whole = _side_by_side(*parts)
        self.weight, self.bias = whole.weight, whole.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``[..., inputs] -> [..., outputs of all parts]``."""
        return linear(x, self.weight, self.bias)

    def halves(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The outputs of two parts of one size."""
        first, second = self(x).chunk(2, -1)
        return first, second


class AddedLinear(nn.Module):
    """``x W^T + b`` added to something by the product itself; inference only."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.transposed = nn.Parameter(linear.weight.detach().t(), requires_grad=False)
        self.bias = linear.bias

    def plus(self, x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """``x [..., inputs]`` and ``other [..., outputs]`` to ``[..., outputs]``."""
        flat = torch.addmm(other.flatten(0, -2), x.flatten(0, -2), self.transposed)
        return (flat if self.bias is None else flat.add_(self.bias)).view_as(other)


class KeptLinears(nn.Module):
    """Linear layers of any kind, each as it is."""

    def __init__(self, *parts: nn.Module) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``[..., inputs] -> [..., outputs of all parts]``."""
        return torch.cat([part(x) for part in self.parts], -1)

    def halves(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The outputs of two parts."""
        first, second = (part(x) for part in self.parts)
        return first, second

    def plus(self, x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """The output of the only part, and `other`."""
        return self.parts[0](x) + other  # type: ignore[no-any-return]


def _merged(*parts: Any) -> MergedLinear | KeptLinears:
    """`parts` as one product where all are plain and of one type."""
    mergeable = all(map(_is_plain, parts)) and len({part.weight.dtype for part in parts}) == 1
    return MergedLinear(*parts) if mergeable else KeptLinears(*parts)


def _is_plain(layer: nn.Module) -> bool:
    """True for a linear layer that computes with its weight and bias alone.

    Some quantisers leave `nn.Linear` as it is and put other tensors, hooks or another forward into it.
    """
    if type(layer) is not nn.Linear or "forward" in vars(layer):
        return False
    hooks = len(layer._forward_hooks) + len(layer._forward_pre_hooks)
    tensors = {*layer._parameters, *layer._buffers}
    return not hooks and tensors == {"weight", "bias"} and not is_traceable_wrapper_subclass(layer.weight)


def _side_by_side(*parts: nn.Linear) -> nn.Linear:
    """One linear layer whose outputs are those of `parts`, one behind the other."""
    whole = nn.Linear(parts[0].in_features, sum(p.out_features for p in parts), bias=False, device="meta")
    weights = [p.weight.detach() for p in parts]
    whole.weight = nn.Parameter(torch.cat(weights), requires_grad=False)
    if any(p.bias is not None for p in parts):
        biases = [p.weight.new_zeros(p.out_features) if p.bias is None else p.bias.detach() for p in parts]
        whole.bias = nn.Parameter(torch.cat(biases), requires_grad=False)
    return whole


def _is_plain_float32(layer: nn.Linear) -> bool:
    return (
        type(layer) is nn.Linear and layer.weight.device.type == "cpu" and layer.weight.dtype == torch.float32
    )
