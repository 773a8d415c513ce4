"""Section C: one verification of a 7B target, from its graph alone, with the host, and against the memory floor."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.nn.attention import SDPBackend

from spectui.decoding.bench.floor import bandwidth, floor_ms
from spectui.decoding.device.model import BufferedModel, padded_rows, view_of
from spectui.decoding.trees.shape import ancestor_mask
from spectui.decoding.trees.spec import recycling_shape
from tests.bench.gpu_check.measure import alone, profile, wall
from tests.bench.gpu_check.report import Report
from tests.bench.gpu_check.shapes import free, loaded, prompt, random_llama, target_sizes
from tests.bench.gpu_check.watch import Watch, graph_of

TITLE = "verification"
SECONDS = 45.0
ROWS, PREFIXES = (1, 4, 8, 16, 32, 64), (100, 1000, 3900)
PROFILED = 16
KERNELS = {"efficient": SDPBackend.EFFICIENT_ATTENTION, "cudnn": SDPBackend.CUDNN_ATTENTION}


def run(report: Report, watch: Watch) -> None:
    """Each number of rows behind each prefix, a profile, and two attention kernels."""
    setting = report.setting
    dtype = torch.float16 if setting.on_gpu else torch.float32
    model = loaded(random_llama(target_sizes(setting), dtype, setting.device, 0)).target
    floor = floor_of(report, model, "verification")
    for prefix in PREFIXES:
        buffered = filled(model, prefix)
        for rows in ROWS:
            with report.attempt(f"{rows} rows behind {prefix}"):
                forwards(report, watch, buffered, rows, prefix, floor, "verification")
        if report.fits(f"profile behind {prefix}", 3.0):
            with report.attempt(f"profile behind {prefix}"):
                kernels(report, watch, buffered, prefix)
    for name, kernel in KERNELS.items():
        if setting.on_gpu and report.fits(f"attention by {name}", 5.0):
            with report.attempt(f"attention by {name}"):
                attention(report, watch, model, name, kernel)
    if not setting.on_gpu:
        report.skip("efficient and cudnn attention", "kernels of CUDA")
    del model, buffered
    free(setting)


def floor_of(report: Report, model: Any, name: str) -> float:
    """Milliseconds in which memory could hand over a model's weights."""
    if report.bandwidth is None:
        report.bandwidth = bandwidth(report.setting.device, 2**22 if report.setting.tiny else 2**31)
    floor = floor_ms(model, report.bandwidth)
    report.figure("floor", floor, "ms", of=name)
    return floor


def filled(model: Any, prefix: int) -> BufferedModel:
    """A model behind a prefix."""
    buffered = BufferedModel(model)
    buffered.reserve(prefix + ROWS[-1])
    buffered.prefill(prompt(prefix))
    return buffered


def append(buffered: BufferedModel, rows: int) -> Any:
    """A function that scores a tree of so many rows and drops it."""
    if rows == 1:
        depth, mask = np.zeros(1, dtype=np.int64), np.ones((1, 1), dtype=np.bool_)
    else:
        shape = recycling_shape(rows - 1)
        depth, mask = np.concatenate([[0], shape.depth]), ancestor_mask(shape.parent)
    tokens = torch.arange(rows, device=buffered.device) + 5

    def one() -> None:
        with torch.inference_mode():
            buffered.append_tensors(tokens, depth, mask)
            buffered.keep([])

    return one


def forwards(
    report: Report, watch: Watch, buffered: BufferedModel, rows: int, prefix: int, floor: float, of: str
) -> None:
    """Replay, wall and floor of a forward of so many rows."""
    setting, work = report.setting, append(buffered, rows)
    where = {"of": of, "rows": rows, "prefix": prefix}
    report.figure("wall", wall(setting, work), "ms", **where)
    part, key = watch.part(of, buffered.graphs), size_of(buffered, rows)
    ms = alone(setting, part, key) if key in part.seen else None
    report.figure("replay", ms, "ms", **where)
    inputs = buffered._inputs_of.get(key)
    if inputs is not None and inputs.kernel is not None:
        report.line(fact="attention kernel", name=inputs.kernel.name, **where)
    if ms is not None:
        report.figure("replay over floor", ms / floor, "x", **where)
    if setting.on_gpu:
        problems = part.problems
        report.check(f"{of}, {rows} rows behind {prefix}: captured", ms is not None and not problems,
                     problems=problems, causes=watch.causes[-2:] if problems else [])  # fmt: skip


def size_of(buffered: BufferedModel, rows: int) -> tuple[int, int]:
    """The size that a forward of so many rows is padded to: the key of its graph."""
    padded = padded_rows(rows)
    return padded, view_of(buffered.length + padded, buffered._cache.capacity)


def kernels(report: Report, watch: Watch, buffered: BufferedModel, prefix: int) -> None:
    """Kernels of one verification, by kind."""
    work = append(buffered, PROFILED)
    with torch.inference_mode():
        work()
    graph = graph_of(buffered.graphs, size_of(buffered, PROFILED))
    if graph is None and report.setting.on_gpu:
        report.skip(f"profile behind {prefix}", "there is no graph")
        return
    seen = profile(report.setting, work if graph is None else graph.replay)
    for kind in ("gemm", "attention", "rest", "gaps"):
        report.figure(kind, getattr(seen, f"{kind}_us"), "us", rows=PROFILED, prefix=prefix)
    report.figure("kernels", seen.kernels, rows=PROFILED, prefix=prefix)


def attention(report: Report, watch: Watch, model: Any, name: str, kernel: SDPBackend) -> None:
    """A verification with one attention kernel, at three lengths."""
    for prefix in PREFIXES:
        buffered = filled(model, prefix)
        buffered.attention_kernels = (kernel,)
        append(buffered, PROFILED)()
        key = size_of(buffered, PROFILED)
        part = watch.part("verification", buffered.graphs)
        ms = alone(report.setting, part, key) if key in part.seen else None
        report.figure("replay", ms, "ms", rows=PROFILED, prefix=prefix, attention=name)
