"""Stage 1 on every core: on a CPU one process per core, each with its own slots and its own shards.

Small operations of one step do not divide well: two single-threaded processes write faster than one
process with two threads, and neither waits for the other.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from spectui.decoding.imports import all_lasting

with all_lasting():
    import torch

    from spectui.decoding.config import RunConfig
    from spectui.decoding.distill.config import DistillConfig
    from spectui.decoding.distill.generate import generate, pace
    from spectui.decoding.distill.shards import Shards
    from spectui.decoding.errors import DecodingError
    from spectui.decoding.models.load import LoadedModels, load_models
    from spectui.decoding.processes import python, start
    from spectui.decoding.worker.launch import MODEL_PROCESS

STRIDE = 10_000_000
"""Prompts of writer w are numbered from ``w * STRIDE`` on, so that no two writers use the same."""

POLL_SECONDS = 5.0


def write_text(
    config: DistillConfig,
    dtype: str,
    models: LoadedModels,
    folder: Path,
    *,
    deadline: float,
    log: Callable[..., None],
) -> None:
    """Fill `folder` until `config.tokens` response tokens are there or `deadline` (monotonic) has passed."""
    device = models.target.device
    count = torch.get_num_threads() if device.type == "cpu" else 1
    if count == 1 or config.tokens < 50_000:
        (goal,) = goals(config.tokens, folder, 1)
        generate(config, models.target, models.tokenizer, folder / "0", goal, deadline=deadline, log=log)
        return
    before, began = Shards(folder).response_tokens, time.monotonic()
    seconds = deadline - began
    command = python("-m", "spectui.decoding.distill.writers", str(folder))
    children = [
        start(
            [*command, str(index), str(goal), dtype, repr(seconds)],
            defaults=MODEL_PROCESS,
            environment={"OMP_NUM_THREADS": "1", "SPECTUI_DISTILL": config.to_json()},
        )
        for index, goal in enumerate(goals(config.tokens, folder, count))
    ]
    try:
        logged = 0
        while any(child.poll() is None for child in children):
            for child in children:
                try:
                    child.wait(POLL_SECONDS / count)
                except subprocess.TimeoutExpired:
                    continue
            tokens = Shards(folder).response_tokens
            if tokens != logged and tokens > before:
                logged = tokens
                log("generate", **pace(tokens, before, began, config.tokens, deadline))
    finally:
        for child in children:
            child.terminate()
            child.wait()
    if any(child.returncode for child in children):
        raise DecodingError("a writer of training text failed; its message stands above")


def goals(tokens: int, folder: Path, count: int) -> list[int]:
    """Response tokens that each of `count` writers' folders ends with, so that `folder` has `tokens` in all.

    What is missing is shared out evenly, whoever wrote what is there: text may go on with more writers, or
    fewer, than it began with.
    """
    share = math.ceil(max(0, tokens - Shards(folder).response_tokens) / count)
    return [Shards(folder / str(index)).response_tokens + share for index in range(count)]


def main() -> int:
    """One writer: ``python -m spectui.decoding.distill.writers FOLDER INDEX GOAL DTYPE SECONDS``."""
    folder, index, goal, dtype, seconds = sys.argv[1:]
    config = DistillConfig.from_json(os.environ["SPECTUI_DISTILL"])
    models = load_models(
        RunConfig(target=config.target, device=config.device, dtype=dtype, speculate=False), tuned=False
    )
    try:
        generate(
            config, models.target, models.tokenizer, Path(folder) / index, int(goal),
            deadline=time.monotonic() + float(seconds), log=lambda *_, **__: None, first=int(index) * STRIDE,
        )  # fmt: skip
    except DecodingError as error:
        sys.stderr.write(f"spectui: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
