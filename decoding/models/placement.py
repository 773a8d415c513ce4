"""Places a run's models on one device, or a target on several GPUs; refuses before loading when they do not fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import psutil
import torch

from spectui.decoding.errors import DecodingError, UsageError
from spectui.decoding.models.memory import Need

MULTI_GPU = "pip install 'spectui[multi-gpu]'"


@dataclass(frozen=True)
class Placement:
    """The device of drafts and everything small, and of the target unless it is `spread`."""

    device: torch.device
    spread: bool = False
    """The target's layers are shared out over all GPUs, by transformers' ``device_map``."""
    reserve: int = 0
    """Bytes that a spread target leaves free on `device`, for the draft and the caches."""


def resolve_device(name: str) -> torch.device:
    """The device of ``--device name``: `auto` is the first GPU, else the CPU.

    Raises `UsageError` for a GPU that this machine does not have.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise UsageError(
                f"--device {name}: this machine has {count} usable GPUs; use --device cpu or auto"
            )
    return device


def place(name: str, needs: Mapping[str, Need]) -> Placement:
    """The place of the models of `needs` (by role: target, draft) under ``--device name``.

    Raises `DecodingError` where they do not fit, with their need and the free memory.
    """
    device = resolve_device(name)
    free = free_bytes(device)
    wanted = sum(need.total for need in needs.values())
    if wanted <= free:
        return Placement(device)
    gpus = all_gpus()
    rest = wanted - needs["target"].weights if "target" in needs else wanted
    if name == "auto" and len(gpus) > 1 and wanted <= sum(gpus) and rest <= gpus[0]:
        if find_spec("accelerate") is None:
            raise DecodingError(
                f"the models need {gigabytes(wanted)} and the first GPU has {gigabytes(free)} free; to spread the "
                f"target over all {len(gpus)} GPUs: {MULTI_GPU}"
            )
        return Placement(torch.device("cuda", 0), spread=True, reserve=rest)
    raise DecodingError(does_not_fit(device, needs, free))


def does_not_fit(device: torch.device, needs: Mapping[str, Need], free: int) -> str:
    """One line with the needed and the free memory, and advice."""
    parts = "; ".join(
        f"{role} {gigabytes(need.weights)} of weights and {gigabytes(need.cache)} of cache"
        for role, need in needs.items()
    )
    wanted = sum(need.total for need in needs.values())
    narrower = any(need.dtype == "float32" and not need.quantization for need in needs.values())
    helps = "--dtype float16, " if narrower else ""
    return (
        f"the models do not fit on {device}: they need {gigabytes(wanted)} ({parts}) and "
        f"{gigabytes(free)} is free; use {helps}a smaller or quantised "
        "model, another --device, or fewer --max-new-tokens"
    )


def free_bytes(device: torch.device) -> int:
    """Bytes that can still be allocated on `device`."""
    if device.type == "cuda":
        free: int = torch.cuda.mem_get_info(device)[0]
        return free
    return int(psutil.virtual_memory().available)


def all_gpus() -> Sequence[int]:
    """Free bytes of every GPU."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return [free_bytes(torch.device("cuda", index)) for index in range(count)]


def most_per_gpu(placement: Placement) -> dict[int, int]:
    """Bytes that a spread target may take of each GPU."""
    free = all_gpus()
    return {
        index: max(bytes_ - (placement.reserve if index == 0 else 0), 0) for index, bytes_ in enumerate(free)
    }


def gigabytes(count: float) -> str:
    """``13.5 GB``, or MB below one."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
