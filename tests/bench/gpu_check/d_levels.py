"""Section D: the parts of a round beside the verification, each from its graph alone."""

from __future__ import annotations

import torch

from spectui.decoding.config import RunConfig
from spectui.decoding.drafters.registry import EAGLE
from spectui.decoding.engine import SpeculativeDecoder
from spectui.decoding.models.load import LoadedModels
from tests.bench.gpu_check.c_verification import filled, floor_of, forwards
from tests.bench.gpu_check.measure import alone
from tests.bench.gpu_check.report import Report
from tests.bench.gpu_check.shapes import (
    draft_sizes,
    free,
    loaded,
    prompt,
    random_head,
    random_llama,
    target_sizes,
)
from tests.bench.gpu_check.texts import environment, sampling_name
from tests.bench.gpu_check.watch import Watch

TITLE = "levels, choice, judgement and gather"
SECONDS = 35.0
ROWS = (1, 2, 4, 8, 16)
RUNS = (
    ("embedded", "full:3x2", 0.0), ("embedded", "full:3x2", 0.8), ("embedded", "dynamic:8x4", 0.8),
    ("eagle", "full:3x2", 0.0), ("eagle", "dynamic:8x4", 0.0), ("eagle", "dynamic:8x4", 0.8),
)  # fmt: skip


def run(report: Report, watch: Watch) -> None:
    """A draft model's level by rows, and every captured part of a few rounds."""
    setting = report.setting
    dtype = torch.float16 if setting.on_gpu else torch.float32
    draft = random_llama(draft_sizes(setting), dtype, setting.device, 1)
    target = random_llama(target_sizes(setting), dtype, setting.device, 0)
    columns = int(target.config.vocab_size)
    pair = loaded(target, draft)
    headed = loaded(target, random_head(target, columns), EAGLE)
    floor = floor_of(report, pair.draft, "draft level")
    level = filled(pair.draft, 100)
    for rows in ROWS:
        forwards(report, watch, level, rows, 100, floor, "draft level")
    floor_of(report, headed.draft, "head level")
    for kind, tree, temperature in RUNS:
        if report.fits(f"parts of {kind} {tree}", 4.0):
            with report.attempt(f"parts of {kind} {tree}"):
                config = RunConfig(draft=kind, tree=tree, temperature=temperature, max_new_tokens=12)
                parts(report, watch, pair if kind == "embedded" else headed, config)
    del pair, headed, level, draft, target
    free(setting)


def parts(report: Report, watch: Watch, models: LoadedModels, config: RunConfig) -> None:
    """Milliseconds and nodes of each graph of a decoder."""
    with environment(SPECTUI_STATIC="1"):
        decoder = SpeculativeDecoder(config, models=models)
    for _ in decoder.generate(prompt(24)):
        pass
    of = f"{config.draft} {config.tree} {sampling_name(config)}"
    for part in watch.parts(decoder):
        for key, seen in part.seen.items():
            where = {"of": of, "part": part.role, "key": str(key)}
            report.figure("alone", alone(report.setting, part, key), "ms", **where)
            if seen.nodes is not None:
                report.figure("nodes", seen.nodes, **where)
    if report.setting.on_gpu:
        problems = watch.problems(decoder)
        report.check(
            f"{of}: captured", not problems, problems=problems, causes=watch.causes[-2:] if problems else []
        )
