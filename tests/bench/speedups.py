"""Speed-ups of sessions beside the one that interleaving measures, on a machine that others use.

    python -m tests.bench.speedups [--sessions 4] [--per-task 12] [--tokens 64] [--tree dynamic:3x2] [--hog]

Runs sessions of the embedded pair one after the other. Then decodes their prompts with and without speculation side by
side, eight rounds and as many plain tokens in turn, so that both have the machine as it is in the same second: the
ratio of their times on each prompt, its median over prompts and the 95 % interval of that by order statistics.
Prints each session's speed-up with its interval beside it. With --hog another process takes a core for 3 to 20 s at a
time meanwhile.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from statistics import median

from spectui import prompts
from spectui.decoding.bench.arms import RecordedArm
from spectui.decoding.bench.paired import median_interval
from spectui.decoding.config import RunConfig
from spectui.decoding.models.load import load_models
from spectui.decoding.worker.baseline import plain_decoder, total_ms
from spectui.store.reading.reader import Reader

BLOCK = 8
"""Rounds, before as many plain tokens as they brought."""
SPANS = (3.0, 20.0)
"""Seconds for which the other process takes a core, and leaves it."""


def main() -> None:
    """Print the sessions and what interleaving says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sessions", type=int, default=4)
    parser.add_argument("--per-task", type=int, default=12)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--tree", default="dynamic:3x2")
    parser.add_argument("--hog", action="store_true")
    arguments = parser.parse_args()
    options = [
        "--max-new-tokens",
        arguments.tokens,
        "--tree",
        arguments.tree,
        "--per-task",
        arguments.per_task,
    ]
    print(f"load of the last minute {os.getloadavg()[0]:.1f}", flush=True)
    with tempfile.TemporaryDirectory() as folder, hog() if arguments.hog else contextlib.nullcontext():
        database = Path(folder) / "runs.db"
        for number in range(arguments.sessions):
            run(database, f"run-{number}", *map(str, options))
        config = RunConfig(max_new_tokens=arguments.tokens, tree=arguments.tree)
        ratios = interleaved(config, arguments.per_task, Path(folder) / "interleaved.db")
        with Reader(database) as reader:
            sessions = [reader.session(f"run-{number}") for number in range(arguments.sessions)]
    low, high = median_interval(ratios) or (min(ratios), max(ratios))
    print(f"interleaved: {median(ratios):.2f} [{low:.2f}, {high:.2f}], {len(ratios)} prompts")
    for each in sessions:
        between = each.speedup_range
        if between is None:
            print(f"{each.name}: not known, {each.baseline_count} measurements")
            continue
        verdict = "overlaps" if between[0] <= high and low <= between[1] else "does not overlap"
        interval = f"[{between[0]:.2f}, {between[1]:.2f}]"
        print(f"{each.name}: {each.speedup:.2f} {interval}, {each.baseline_count} measurements, {verdict}")
    print(f"load of the last minute {os.getloadavg()[0]:.1f}")


def run(database: Path, name: str, *options: str) -> None:
    """A session, as users start one."""
    words = ("--db", str(database), "run", "--headless", "--name", name, *options)
    command = [sys.executable, "-c", "from spectui.tui.cli import main; main()", *words]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def interleaved(config: RunConfig, per_task: int, database: Path) -> list[float]:
    """Of each prompt: time of its tokens without speculation over their time with it, recorded as a session records."""
    chosen = prompts.bundled(per_task=per_task)
    arm = RecordedArm(database, config, load_models(config), chosen)
    plain = plain_decoder(arm.decoder)
    ratios = []
    for generation, prompt in zip(arm.writer.pending_generations(), chosen, strict=True):
        ids = arm.decoder.encode(prompt.asked)
        arm.writer.start_generation(generation.id, len(ids))
        rounds, one_by_one = arm.decoder.generate(ids), plain.generate(ids)
        took = plain_took = 0.0
        tokens = 1
        while tokens:
            # Within a block a round is written while the next one is decoded, and none while plain tokens are.
            tokens = 0
            for round_ in islice(rounds, BLOCK):
                took += arm.recorder.record(generation.id, round_)
                tokens += len(round_.tokens)
            arm.recorder.flush()
            plain_took += sum(map(total_ms, islice(one_by_one, tokens)))
        ratios.append(plain_took / took)
        print(f"{prompt.id}: {ratios[-1]:.2f}", file=sys.stderr, flush=True)
    return ratios


@contextlib.contextmanager
def hog() -> Iterator[None]:
    """Another program that takes a core for a while, again and again."""
    other = multiprocessing.get_context("spawn").Process(target=take_a_core, daemon=True)
    other.start()
    try:
        yield
    finally:
        other.terminate()
        other.join()


def take_a_core() -> None:
    """Compute for a while and sleep for a while, for ever."""
    spans = random.Random(0)
    while True:
        until = time.monotonic() + spans.uniform(*SPANS)
        while time.monotonic() < until:
            sum(range(10_000))
        time.sleep(spans.uniform(*SPANS))


if __name__ == "__main__":
    main()
