"""What forwards of fixed size read, brought to the device without waiting for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch


def pinned(values: Any, device: torch.device) -> torch.Tensor:
    """`values` as a tensor of the host that can be copied to `device` while the host goes on."""
    tensor = torch.from_numpy(np.ascontiguousarray(values))
    return tensor.pin_memory() if device.type == "cuda" else tensor


def upload(values: Any, device: torch.device) -> torch.Tensor:
    """`values` on the device."""
    return pinned(values, device).to(device, non_blocking=True)


def show(seen: torch.Tensor, length: int, mask: torch.Tensor) -> None:
    """Write into `seen` ``[padded rows, slots]`` who looks where: `mask` ``[n, m]`` stands behind `length` slots that
    all n rows see. Padding rows look at the first slot alone: one that looks at nothing would be NaN."""
    rows, behind = mask.shape
    seen.zero_()
    seen[:, 0] = True
    seen[:rows, :length] = True
    seen[:rows, length : length + behind] = mask
