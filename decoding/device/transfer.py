"""Transfers of inputs to the device without waiting for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch


def pinned(values: Any, device: torch.device) -> torch.Tensor:
    """`values` as a host tensor that is copied to `device` while the host goes on."""
    tensor = torch.from_numpy(np.ascontiguousarray(values))
    return tensor.pin_memory() if device.type == "cuda" else tensor


def upload(values: Any, device: torch.device) -> torch.Tensor:
    """`values` on the device."""
    return pinned(values, device).to(device, non_blocking=True)


def fill_visibility(visible: torch.Tensor, length: int, mask: torch.Tensor) -> None:
    """Write into `visible` ``[padded rows, slots]`` the slots that each row attends to: all `length` committed ones,
    and `mask` ``[n, m]`` behind them. Padding rows attend to the first slot alone: without any they would be NaN."""
    rows, behind = mask.shape
    visible.zero_()
    visible[:, 0] = True
    visible[:rows, :length] = True
    visible[:rows, length : length + behind] = mask
