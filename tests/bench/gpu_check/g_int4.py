"""Section G: 4-bit weights in 7B shapes by torch's own kernel, and GPTQ where gptqmodel is installed."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from spectui.decoding.config import RunConfig
from spectui.decoding.engine import SpeculativeDecoder
from spectui.decoding.models.load import load_models
from spectui.decoding.models.quantization import missing_packages
from tests.bench.gpu_check.c_verification import filled, floor_of, forwards
from tests.bench.gpu_check.report import Report, Setting
from tests.bench.gpu_check.shapes import SMALL, free, loaded, prompt, random_llama, target_sizes
from tests.bench.gpu_check.texts import decode, environment
from tests.bench.gpu_check.watch import Watch
from tests.gptq_checkpoint import random_gptq_llama

TITLE = "int4"
SECONDS = 25.0
ROWS = (1, 4, 8, 16)
GROUP, INNER_TILES = 128, 8


class Int4Linear(nn.Module):
    """A linear layer without bias whose weights are 4 bits in groups of `GROUP`, as a quantised checkpoint's are."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self.group = min(GROUP, self.in_features)
        grouped = weight.detach().float().view(self.out_features, -1, self.group)
        scale = (grouped.abs().amax(-1, keepdim=True) / 7.0).clamp(min=1e-6)
        steps = (grouped / scale).round().clamp(-8, 7).view(self.out_features, self.in_features)
        scales_and_zeros = torch.stack([scale[..., 0].t(), torch.zeros_like(scale[..., 0].t())], dim=-1)
        self.packed: torch.Tensor
        self.scales: torch.Tensor
        self.register_buffer("packed", _packed((steps + 8).to(torch.int32)))
        self.register_buffer("scales", scales_and_zeros.to(weight.dtype).contiguous())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``[..., in] -> [..., out]``."""
        rows = x.reshape(-1, self.in_features)
        kernel = torch.ops.aten._weight_int4pack_mm
        if x.device.type == "cpu":
            kernel = torch.ops.aten._weight_int4pack_mm_for_cpu
        out: torch.Tensor = kernel(rows, self.packed, self.group, self.scales)
        return out.view(*x.shape[:-1], self.out_features)


def _packed(steps: torch.Tensor) -> torch.Tensor:
    """Steps of 0 to 15, int32 ``[out, in]``, in the kernel's layout."""
    if steps.device.type == "cpu":
        return torch.ops.aten._convert_weight_to_int4pack_for_cpu(steps, 1)  # type: ignore[no-any-return]
    halves = (steps[:, ::2] << 4 | steps[:, 1::2]).to(torch.uint8)
    return torch.ops.aten._convert_weight_to_int4pack(halves, INNER_TILES)  # type: ignore[no-any-return]


def quantise(model: Any) -> None:
    """Replace the linear layers of all decoder layers."""
    for layer in model.model.layers:
        for module in list(layer.modules()):
            for name, child in list(module.named_children()):
                if isinstance(child, nn.Linear):
                    setattr(module, name, Int4Linear(child.weight))


def run(report: Report, watch: Watch) -> None:
    """The kernel is right, and its forwards are captured and measured."""
    setting = report.setting
    product(report)
    sizes = {**SMALL, "hidden_size": 128, "num_hidden_layers": 2} if setting.tiny else target_sizes(setting)
    model = random_llama(sizes, torch.bfloat16, setting.device, 0)
    quantise(model)
    free(setting)
    models = loaded(model)
    _measured(report, watch, models.target, "int4 verification")
    config = RunConfig(draft="recycling", tree="recycling:16", max_new_tokens=24)
    with environment(SPECTUI_STATIC="1"):
        decoder = SpeculativeDecoder(config, models=models)
        output = decode(decoder, prompt(24))
        with environment(SPECTUI_CAPTURE="0"):
            eager = decode(SpeculativeDecoder(config, models=models), prompt(24))
    problems = watch.problems(decoder) if setting.on_gpu else []
    report.check("int4 decodes as without capture", output == eager and not problems, problems=problems)
    del model, models, decoder
    free(setting)
    if missing := missing_packages():
        report.skip("GPTQ", f"{' and '.join(missing)} not installed (pip install 'spectui[gptq]')")
    elif report.fits("GPTQ", 60.0):
        gptq(report, watch, setting)


def _measured(report: Report, watch: Watch, model: Any, name: str) -> None:
    floor = floor_of(report, model, name)
    buffered = filled(model, 100)
    for rows in ROWS:
        forwards(report, watch, buffered, rows, 100, floor, name)


def product(report: Report) -> None:
    """One product of the kernel against the same weights in float32."""
    torch.manual_seed(0)
    weight = torch.randn(256, 256, device=report.setting.device, dtype=torch.bfloat16) / 16
    layer = Int4Linear(weight)
    grouped = weight.float().view(256, -1, layer.group)
    scale = (grouped.abs().amax(-1, keepdim=True) / 7.0).clamp(min=1e-6)
    back = ((grouped / scale).round().clamp(-8, 7) * scale.to(torch.bfloat16).float()).view(256, 256)
    x = torch.randn(4, 256, device=weight.device, dtype=torch.bfloat16)
    with torch.inference_mode():
        error = float((layer(x).float() - x.float() @ back.t()).norm() / (x.float() @ back.t()).norm())
    report.check("int4 product", error < 0.02, relative=round(error, 5))


def gptq(report: Report, watch: Watch, setting: Setting) -> None:
    """A checkpoint in the GPTQ format, loaded as a run loads it."""
    group = 32 if setting.tiny else GROUP
    with tempfile.TemporaryDirectory() as folder:
        random_gptq_llama(Path(folder), target_sizes(setting), group=group)
        models = load_models(RunConfig(target=folder, draft="recycling", device=str(setting.device)))
    _measured(report, watch, models.target, "GPTQ verification")
