"""This machine's versions, processors and kernels, for `spectui doctor`.

``python -m spectui.decoding.machine.environment`` prints them.
"""

from __future__ import annotations

import json
import platform
import sys
from typing import Any

from spectui.decoding.imports import all_lasting

with all_lasting():
    import psutil
    import torch

    from spectui.decoding.machine.kernels import findings, gather, package_version
    from spectui.decoding.target.packed import can_pack


def environment() -> dict[str, Any]:
    """Versions, processors, GPUs and the kernels that will be used; JSON-ready."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": package_version("transformers") or None,
        "cpu": {
            "name": cpu_name(),
            "cores": psutil.cpu_count(logical=False) or psutil.cpu_count(),
            "threads": torch.get_num_threads(),
            "capability": torch.backends.cpu.get_cpu_capability(),
            "packed_linears": can_pack(),
            "memory_bytes": psutil.virtual_memory().total,
            "memory_available_bytes": psutil.virtual_memory().available,
        },
        "gpus": _gpus(),
        "kernels": [finding.as_json() for finding in findings(gather())],
    }


def _gpus() -> list[dict[str, Any]]:
    if not torch.cuda.is_available():
        return []
    out = []
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        name = torch.cuda.get_device_name(index)
        out.append({"name": name, "memory_bytes": total, "memory_available_bytes": free})
    return out


def cpu_name() -> str:
    """The processor's model name."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123 - not a file of ours
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def main() -> int:
    """Print the environment as one JSON object."""
    sys.stdout.write(json.dumps(environment()) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
