"""How busy the GPU of this process is, by NVML; None wherever that cannot be told."""

from __future__ import annotations

import sys
from typing import Any


def gpu_use() -> dict[str, Any] | None:
    """``{"name", "percent", "used_bytes", "total_bytes"}`` of the GPU that torch works on here.

    None without an NVIDIA GPU, driver or library, before torch has touched one, and on partitioned
    (MIG) devices, which report no utilisation.
    """
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    import pynvml

    try:
        pynvml.nvmlInit()
        properties = torch.cuda.get_device_properties(torch.cuda.current_device())
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{properties.uuid}")
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
        return {
            "name": properties.name,
            "percent": pynvml.nvmlDeviceGetUtilizationRates(handle).gpu,
            "used_bytes": int(memory.used),
            "total_bytes": int(memory.total),
        }
    except pynvml.NVMLError:
        return None
