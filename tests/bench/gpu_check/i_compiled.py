"""Section I, on request: one layer by `torch.compile`, as a measure of what its kernels could still gain."""

from __future__ import annotations

from typing import Any

import torch

from tests.bench.gpu_check.measure import in_a_row
from tests.bench.gpu_check.report import Report
from tests.bench.gpu_check.shapes import random_llama, target_sizes
from tests.bench.gpu_check.watch import Watch

TITLE = "a compiled layer"
SECONDS = 120.0
ROWS = (1, 16)


def run(report: Report, watch: Watch) -> None:
    """Milliseconds of all layers, if each took what one compiled layer of transformers takes without a cache."""
    setting = report.setting
    dtype = torch.float16 if setting.on_gpu else torch.float32
    sizes = {**target_sizes(setting), "num_hidden_layers": 1}
    model = random_llama(sizes, dtype, setting.device, 0)
    layer = model.model.layers[0]
    for rows in ROWS:
        hidden = torch.randn(1, rows, sizes["hidden_size"], dtype=dtype, device=setting.device)
        angles = model.model.rotary_emb(hidden, torch.arange(rows, device=setting.device)[None])
        compiled: Any = torch.compile(layer, fullgraph=True)

        def work(hidden: Any = hidden, angles: Any = angles, layer: Any = compiled) -> None:
            with torch.inference_mode():
                layer(hidden, position_embeddings=angles)

        work()
        replay: Any = work
        if setting.on_gpu:
            graph = torch.cuda.CUDAGraph()
            work()
            torch.cuda.synchronize(setting.device)
            with torch.cuda.graph(graph):
                work()
            replay = graph.replay
        ms = in_a_row(setting, replay)
        report.figure("compiled layers", ms * target_sizes(setting)["num_hidden_layers"], "ms", rows=rows)
