"""Section F: a 7B target with texts that wander, in half precision."""

from __future__ import annotations

import math
from typing import Any

import torch

from spectui.decoding.config import RunConfig
from spectui.decoding.engine import SpeculativeDecoder
from spectui.decoding.models.load import LoadedModels
from tests.bench.gpu_check.report import Report
from tests.bench.gpu_check.shapes import draft_sizes, free, loaded, prompt, random_llama, target_sizes
from tests.bench.gpu_check.texts import decode, environment
from tests.bench.gpu_check.watch import Watch
from tests.equality import NEAR_TIE

TITLE = "correctness of large shapes"
SECONDS = 25.0
TOKENS, DRAWS, DEVIATIONS = 48, 60, 4.0


def run(report: Report, watch: Watch) -> None:
    """Greedy texts are what the target says to them, seeds repeat, and drawn tokens follow the target."""
    setting = report.setting
    for dtype in (torch.float16, torch.bfloat16) if setting.on_gpu else (torch.float32,):
        name = str(dtype).removeprefix("torch.")
        if not report.fits(name, 10.0):
            continue
        target = random_llama(target_sizes(setting), dtype, setting.device, 0)
        models = loaded(target, random_llama(draft_sizes(setting), dtype, setting.device, 1))
        config = RunConfig(draft="embedded", tree="full:3x2", max_new_tokens=TOKENS)
        with environment(SPECTUI_STATIC="1"):
            decoder = SpeculativeDecoder(config, models=models)
        ids = prompt(24)
        gaps = short_of_best(models.target, ids, decode(decoder, ids))
        tie = NEAR_TIE[dtype]
        report.check(f"{name}: greedy is the argmax", max(gaps) < tie, positions=len(gaps), tie=tie,
                     near_ties=[round(gap, 4) for gap in gaps if gap > 0])  # fmt: skip
        if setting.on_gpu:
            problems = watch.problems(decoder)
            report.check(f"{name}: captured", not problems, problems=problems)
        if dtype != torch.bfloat16:
            sampled(report, models, config.changed(temperature=0.8), ids, name)
        del models, target, decoder
        free(setting)


def short_of_best(model: Any, ids: list[int], output: list[int]) -> list[float]:
    """By position, the difference of the largest logit and that of the token that was chosen."""
    with torch.inference_mode():
        logits = model(torch.tensor([[*ids, *output]], device=model.device)).logits[0].float()
    rows = logits[len(ids) - 1 : -1]
    chosen = rows.gather(1, torch.tensor(output, device=rows.device)[:, None])[:, 0]
    return [float(gap) for gap in (rows.amax(-1) - chosen).tolist()]


def sampled(report: Report, models: LoadedModels, hot: RunConfig, ids: list[int], name: str) -> None:
    """Equal seeds draw equal texts; the first token is the likeliest as often as the target says."""
    short = hot.changed(max_new_tokens=24)
    with environment(SPECTUI_STATIC="1"):
        again = [decode(SpeculativeDecoder(short, models=models), ids) for _ in range(2)]
        report.check(f"{name}: a seed repeats", again[0] == again[1])
        one = SpeculativeDecoder(hot.changed(max_new_tokens=1), models=models)
    with torch.inference_mode():
        logits = models.target(torch.tensor([ids], device=models.target.device)).logits[0, -1].float()
    p, token = (logits / hot.temperature).softmax(-1).max(-1)
    draws = DRAWS // 3 if report.setting.tiny else DRAWS
    hits = sum(next(one.generate(ids, position=i)).tokens[0] == int(token) for i in range(draws))
    expected = float(p) * draws
    z = abs(hits - expected) / max(math.sqrt(expected * (1.0 - float(p))), 0.5)
    report.check(f"{name}: draws follow the target", z < DEVIATIONS, z=round(z, 2), draws=draws, hits=hits,
                 expected=round(expected, 1))  # fmt: skip
