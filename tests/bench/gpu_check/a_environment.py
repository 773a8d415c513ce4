"""Section A: the machine, and the bandwidth of its memory."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from typing import Any

import torch
import transformers

from spectui.decoding.device.clock import Clock
from spectui.decoding.machine import gpu
from spectui.decoding.machine.versions import own_version
from spectui.decoding.models.placement import free_bytes
from tests.bench.gpu_check.report import Report, Setting
from tests.bench.gpu_check.watch import Watch

TITLE = "environment"
SECONDS = 4.0
BUFFER = 2**31


def run(report: Report, watch: Watch) -> None:
    """Versions, clocks, the order in which torch tries attention kernels, and gigabytes a second."""
    setting = report.setting
    report.line(
        fact="versions", date=time.strftime("%Y-%m-%d"), python=platform.python_version(),
        torch=torch.__version__, transformers=transformers.__version__, spectui=own_version(),
    )  # fmt: skip
    if setting.on_gpu:
        _device(report, setting)
    else:
        report.line(fact="device", name="CPU", threads=torch.get_num_threads())
    copied, read = _speeds(setting)
    report.figure("copy", copied / 1e9, "GB/s")
    report.figure("read", read / 1e9, "GB/s")
    report.bandwidth = max(copied, read)


def _device(report: Report, setting: Setting) -> None:
    properties = torch.cuda.get_device_properties(setting.device)
    major, minor = torch.cuda.get_device_capability(setting.device)
    driver = gpu.driver()
    report.line(
        fact="device", name=properties.name, gigabytes=round(properties.total_memory / 1e9, 1),
        multiprocessors=properties.multi_processor_count, capability=f"{major}.{minor}",
        driver=driver[0] if driver else None, cuda=torch.version.cuda, cudnn=_untyped(torch.backends.cudnn, "version"),
    )  # fmt: skip
    order = (
        _untyped(torch._C, "_get_sdp_priority_order") if hasattr(torch._C, "_get_sdp_priority_order") else []
    )
    kinds = {"flash": "flash", "efficient": "mem_efficient", "cudnn": "cudnn", "math": "math"}
    enabled = {name: _untyped(torch.backends.cuda, f"{kind}_sdp_enabled") for name, kind in kinds.items()}
    report.line(fact="attention kernels", order=[int(each) for each in order], enabled=enabled)
    torch.zeros(1, device=setting.device)
    readings = gpu.Gpus().readings()
    report.line(fact="clocks", **{"gpus": readings["gpus"] if readings else "not readable"})


def _untyped(module: Any, name: str) -> Any:
    """The result of a function that torch has no types for."""
    return getattr(module, name)()


def _speeds(setting: Setting) -> tuple[float, float]:
    """Bytes a second of copying, reading and writing counted, and of reading."""
    wanted = 2**22 if setting.tiny else BUFFER
    count = max(min(wanted, free_bytes(setting.device) // 8), 2**20) // 4
    a = torch.ones(count, dtype=torch.float32, device=setting.device)
    b = torch.empty_like(a)
    clock, best = Clock(setting.device), [0.0, 0.0]
    works: tuple[Callable[[], object], ...] = (lambda: b.copy_(a), lambda: a.sum())
    with torch.inference_mode():
        for turn in range(6):
            for which, work in enumerate(works):
                start = clock.mark()
                work()
                end = clock.mark()
                if setting.on_gpu:
                    torch.cuda.synchronize(setting.device)
                if turn:
                    best[which] = max(best[which], (2 - which) * a.nbytes / clock.seconds(start, end))
    return best[0], best[1]
