"""Section H: the end of the context, and a device that is full. In a process of its own, which may break."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import deque
from tempfile import TemporaryFile
from typing import Any

import torch

from spectui.decoding.config import RunConfig
from spectui.decoding.engine import SpeculativeDecoder
from spectui.decoding.worker.memory import out_of_memory
from tests.bench.gpu_check.report import Report
from tests.bench.gpu_check.shapes import draft_sizes, free, loaded, prompt, random_llama, target_sizes
from tests.bench.gpu_check.texts import decode, environment
from tests.bench.gpu_check.watch import Watch

TITLE = "the end of the context, and memory that runs out"
SECONDS = 40.0
ROOM = 32 << 20
"""Bytes that are left free when a device is filled: less than a cache of half a context takes."""
NOT_JSON = 20


def run(report: Report, watch: Watch) -> None:
    """Repeat the lines of a process that does `inside`."""
    setting = report.setting
    command = [
        sys.executable,
        "-m",
        "tests.bench.gpu_check",
        "--device",
        str(setting.device),
        "--inside",
        "H",
    ]
    command += ["--tiny"] if setting.tiny else []
    repeat(report, command)


def repeat(report: Report, command: list[str]) -> None:
    """Write the lines of a process into `report`; it has to end, with the code of its verdict."""
    code: int | None = None
    other: deque[str] = deque(maxlen=NOT_JSON)
    with (
        TemporaryFile("w+", encoding="utf-8", errors="replace") as aside,  # warnings may come within a line
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=aside, text=True) as child,
    ):
        assert child.stdout is not None
        for text in child.stdout:
            try:
                line = json.loads(text)
            except ValueError:
                line = None
            if not isinstance(line, dict):
                other.append(text.rstrip())
            elif "verdict" in line:
                code = 1 if line["failures"] else 0
            elif "finished" not in line:
                report.repeat(line)
        child.wait()
        aside.seek(0)
        other.extend(text.rstrip() for text in aside)
    ended = child.returncode == code
    report.check(
        "its process ended", ended, code=child.returncode, **({} if ended else {"output": list(other)})
    )


def inside(report: Report, watch: Watch) -> None:
    """Decode to the last slot; then fill the device, fail as a run expects, and go on."""
    setting = report.setting
    dtype = torch.float16 if setting.on_gpu else torch.float32
    sizes = (
        {**target_sizes(setting), "max_position_embeddings": 192} if setting.tiny else target_sizes(setting)
    )
    target = random_llama(sizes, dtype, setting.device, 0)
    models = loaded(target, random_llama(draft_sizes(setting), dtype, setting.device, 1))
    config = RunConfig(draft="embedded", tree="full:3x2", max_new_tokens=48)
    with environment(SPECTUI_STATIC="1"):
        long = SpeculativeDecoder(config.changed(max_new_tokens=10**6), models=models)
        rounds = list(long.generate(prompt(long.target.context - 40)))
        whole = rounds[-1].finish == "context" and long.target.length + 1 >= long.target.context
        report.check("decodes to the end of the context", whole, tokens=sum(len(r.tokens) for r in rounds))
        if setting.on_gpu:
            problems = watch.problems(long)
            report.check("the last slots are captured", not problems, problems=problems)
        del long, rounds
        decoder = SpeculativeDecoder(config, models=models)
        output = decode(decoder, prompt(24))
        refused = _runs_out(report, models, config, decoder.target.context)
        free(setting)
        again = decode(decoder, prompt(24))
        fresh = decode(SpeculativeDecoder(config, models=models), prompt(24))
    report.check("goes on after memory ran out", refused and output == again == fresh, refused=refused)
    if setting.on_gpu:
        problems = watch.problems(decoder)
        report.check("captured after memory ran out", not problems, problems=problems)


def _runs_out(report: Report, models: Any, config: RunConfig, context: int) -> bool:
    """True when a decoder that finds the device full fails as a run expects.

    A CPU's memory is the machine's own: there an allocation that cannot be has to do.
    """
    device = report.setting.device
    ballast: list[torch.Tensor] = []
    try:
        if not report.setting.on_gpu:
            torch.empty(2**50, dtype=torch.uint8, device=device)
            return False
        torch.cuda.empty_cache()
        room = torch.cuda.mem_get_info(device)[0] - ROOM
        ballast.append(torch.empty(room, dtype=torch.uint8, device=device))
        decode(SpeculativeDecoder(config, models=models), prompt(context // 2))
    except Exception as error:
        if not out_of_memory(error):
            raise
        return True
    finally:
        ballast.clear()
    return False
