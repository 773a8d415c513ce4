"""Milliseconds of device work: from a graph alone, and with the host that prepares it."""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass

import torch

from spectui.decoding.device.clock import Clock
from tests.bench.gpu_check.report import Setting
from tests.bench.gpu_check.watch import Part, graph_of

IN_A_ROW, WARM_UPS, PASSES = 30, 3, 9
GEMM = re.compile(r"gemm|gemv|cutlass|cublas|nvjet|splitk|xmma|int4pack|addmm|::mm$|::bmm$|linear", re.I)
ATTENTION = re.compile(r"attention|flash|fmha|sdpa|sdp_", re.I)


def wait(setting: Setting) -> None:
    """Until the device has done what it was given."""
    if setting.on_gpu:
        torch.cuda.synchronize(setting.device)


@torch.inference_mode()
def in_a_row(setting: Setting, work: Callable[[], object]) -> float:
    """Milliseconds of `work` among others like it, none of which waits for the host."""
    count = 3 if setting.tiny else IN_A_ROW
    for _ in range(1 if setting.tiny else WARM_UPS):
        work()
    wait(setting)
    clock = Clock(setting.device)
    start = clock.mark()
    for _ in range(count):
        work()
    end = clock.mark()
    wait(setting)
    return 1e3 * clock.seconds(start, end) / count


@torch.inference_mode()
def wall(setting: Setting, work: Callable[[], object]) -> float:
    """Milliseconds from the host's call to the device's end, the median of several."""
    times = []
    for _ in range(3 if setting.tiny else PASSES + WARM_UPS):
        wait(setting)
        start = time.perf_counter()
        work()
        wait(setting)
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times[1:] if setting.tiny else times[WARM_UPS:])


def alone(setting: Setting, part: Part, key: Hashable) -> float | None:
    """Milliseconds of what a part has run by `key`: of its graph, or of its last calls where nothing is captured.

    None where a GPU has no graph of it.
    """
    graph, seen = graph_of(part.graphs, key), part.seen[key]
    if graph is not None:
        return in_a_row(setting, graph.replay)
    return statistics.median(seen.milliseconds) if seen.milliseconds and not setting.on_gpu else None


@dataclass(frozen=True)
class Profile:
    """One run of a captured function, by kind of kernel."""

    kernels: int
    gemm_us: float
    attention_us: float
    rest_us: float
    gaps_us: float
    """Time in which no kernel ran; 0 on a CPU, where it is not known."""


@torch.inference_mode()
def profile(setting: Setting, work: Callable[[], object]) -> Profile:
    """Kernels of `work`; on a CPU operators, by their own time."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiled

    work()
    wait(setting)
    kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if setting.on_gpu else [])]
    with profiled(activities=kinds, acc_events=True) as run:
        work()
        wait(setting)
    kernels: list[tuple[str, float]] = []
    spans: list[tuple[float, float]] = []
    for event in run.events():
        if setting.on_gpu:
            if event.device_type != torch.profiler.DeviceType.CUDA:
                continue
            start, end = event.time_range.start, event.time_range.end
            spans.append((start, end))
            kernels.append((event.name, end - start))
        elif event.name.startswith(("aten::", "mkldnn::")):
            kernels.append((event.name, event.self_cpu_time_total))
    gemm = sum(us for name, us in kernels if GEMM.search(name))
    attention = sum(us for name, us in kernels if ATTENTION.search(name) and not GEMM.search(name))
    total = sum(us for _, us in kernels)
    across = max(end for _, end in spans) - min(start for start, _ in spans) if spans else total
    return Profile(len(kernels), gemm, attention, total - gemm - attention, max(across - total, 0.0))
