"""Time of a round by phase, against the floor that memory bandwidth sets: ``spectui bench --profile``.

Every prompt is decoded twice, recorded as in a run: undisturbed, and with a `PhaseTimer`. On a GPU the timer waits for
the device at each change of phase, so that its rounds are longer than the undisturbed ones, whose length stands beside.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from spectui import prompts
from spectui.decoding.bench.arms import RECORD, TEXT, RecordedArm
from spectui.decoding.bench.floor import bandwidth, floor_ms
from spectui.decoding.bench.paired import rounded
from spectui.decoding.config import RunConfig
from spectui.decoding.machine.environment import cpu_name
from spectui.decoding.models.load import LoadedModels, load_models
from spectui.decoding.phases import (
    ACCEPT,
    DRAFT,
    FIGURES,
    KEEP,
    LEARN,
    LEVEL,
    PREFILL,
    PREFILL_DRAFT,
    VERIFY,
    PhaseTimer,
    phase,
)
from spectui.decoding.worker.choose_tree import with_tree

REST = "everything else"
BESIDE = "recording, beside decoding"
ORDER = (PREFILL, PREFILL_DRAFT, DRAFT, LEVEL, VERIFY, ACCEPT, KEEP, LEARN, FIGURES, RECORD, TEXT, REST)

ONCE_A_PROMPT = (PREFILL, PREFILL_DRAFT, TEXT)
"""Phases outside of rounds."""


@dataclass(frozen=True)
class Timings:
    """Seconds and calls by phase; the draft's levels are numbered."""

    seconds: dict[str, float]
    calls: dict[str, int]
    beside_seconds: float
    rounds: int
    tokens: int
    prompts: int
    undisturbed: float
    """Time for the same without the timer, over time with it."""
    bandwidth: float
    floors: dict[str, float]
    """Least milliseconds of a forward, of `VERIFY` and `LEVEL`."""


def measure(
    config: RunConfig, chosen: Sequence[prompts.Prompt], tell: Callable[[str], None]
) -> tuple[RunConfig, LoadedModels, Timings]:
    """Decode `chosen`, greedily or as `config` says. Returns the configuration with the tree that was measured."""
    models = load_models(config, lambda stage, *_: tell(stage))
    config = with_tree(config, models, lambda stage, *_: tell(stage))
    device: torch.device = models.target.device
    tell("measuring memory bandwidth")
    speed = bandwidth(device)
    floors = {
        VERIFY: floor_ms(models.target, speed),
        **({} if models.draft is None else {LEVEL: floor_ms(models.draft, speed)}),
    }
    timer = PhaseTimer(
        REST, partial(torch.cuda.synchronize, device) if device.type == "cuda" else lambda: None
    )
    without, within, rounds, tokens = 0.0, 0.0, 0, 0
    encode = partial(models.tokenizer.encode_prompt, switches=config.template_args)
    with tempfile.TemporaryDirectory(prefix="spectui-profile-") as folder:
        plain = RecordedArm(Path(folder) / "plain.db", config, models, chosen)
        timed = RecordedArm(Path(folder) / "timed.db", config, models, chosen)
        for arm in (plain, timed):
            arm.run(encode("Hello."), 0, warm_up=True)
        for number, prompt in enumerate(chosen):
            ids = encode(prompt.asked)
            without += plain.run(ids, number).seconds
            with timer.running():
                outcome = timed.run(ids, number)
                with phase(TEXT):
                    models.tokenizer.decode(outcome.tokens)
            within += outcome.seconds
            rounds, tokens = rounds + outcome.rounds, tokens + len(outcome.tokens)
            tell(f"{number + 1}/{len(chosen)} {prompt.id}: {outcome.tokens_per_second:.1f} tok/s")
    return (
        config,
        models,
        Timings(
            dict(timer.seconds), dict(timer.calls), timed.recorder.seconds, rounds, tokens, len(chosen),
            without / within, speed, floors,
        ),
    )  # fmt: skip


def figures(config: RunConfig, models: LoadedModels, timings: Timings) -> dict[str, Any]:
    """The figures of ``spectui bench --profile --json``. Milliseconds; a share is of all time, text included."""
    whole = sum(timings.seconds.values())
    rounds = whole - sum(timings.seconds.get(name, 0.0) for name in ONCE_A_PROMPT)
    in_models = sum(seconds for name, seconds in timings.seconds.items() if _kind(name) in (LEVEL, VERIFY))
    device = models.target.device
    return {
        "target": config.target,
        "draft": config.draft_name,
        "tree": config.tree_spec,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name(),
        "dtype": str(models.target.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads() if device.type == "cpu" else None,
        "bandwidth_bytes_per_second": rounded(timings.bandwidth),
        "prompts": timings.prompts,
        "rounds": timings.rounds,
        "tokens_per_round": rounded(timings.tokens / timings.rounds),
        "round_ms": rounded(1e3 * rounds / timings.rounds),
        "undisturbed_over_profiled": rounded(timings.undisturbed),
        "outside_forwards_share": rounded(1.0 - in_models / rounds),
        "phases": [_phase(name, timings, whole) for name in sorted(timings.seconds, key=_order)],
        "recording_beside_ms": rounded(1e3 * timings.beside_seconds / timings.rounds),
    }


def _phase(name: str, timings: Timings, whole: float) -> dict[str, Any]:
    seconds, calls = timings.seconds[name], timings.calls.get(name, timings.rounds)
    floor = timings.floors.get(_kind(name))
    per_call = 1e3 * seconds / calls
    return {
        "phase": name,
        "per": "prompt" if name in ONCE_A_PROMPT else "round",
        "ms": rounded(1e3 * seconds / (timings.prompts if name in ONCE_A_PROMPT else timings.rounds)),
        "share": rounded(seconds / whole),
        "calls": calls,
        "ms_per_call": rounded(per_call),
        "floor_ms": None if floor is None else rounded(floor),
        "over_floor": None if floor is None else rounded(per_call / floor),
    }


def _kind(name: str) -> str:
    return LEVEL if name.startswith(LEVEL) else name


def _order(name: str) -> tuple[int, int]:
    number = name.removeprefix(LEVEL).strip()
    return ORDER.index(_kind(name)), int(number) if number.isdigit() else 0


def table(figures: dict[str, Any]) -> str:
    """The figures for people."""
    threads = f" ({figures['threads']} threads)" if figures["threads"] else ""
    lines = [
        f"{figures['target']} <- {figures['draft']}, {figures['tree']}, {figures['dtype']} on {figures['device']}"
        f"{threads}",
        f"{figures['prompts']} prompts, {figures['rounds']} rounds of {figures['round_ms']:.2f} ms, "
        f"{figures['tokens_per_round']:.2f} tokens each",
        "floor: bytes of weights over memory bandwidth, "
        f"{figures['bandwidth_bytes_per_second'] / 1e9:.1f} GB/s measured",
        "",
        f"  {'':26} {'ms':>9}  {'':10} {'share':>6} {'calls':>7} {'ms a call':>10} {'floor ms':>9} {'x floor':>8}",
    ]
    for part in figures["phases"]:
        floor = f"{part['floor_ms']:9.2f} {part['over_floor']:8.2f}" if part["floor_ms"] is not None else ""
        lines.append(
            f"  {part['phase']:26} {part['ms']:9.3f}  {'a ' + part['per']:10} {100 * part['share']:5.1f}% "
            f"{part['calls']:7} {part['ms_per_call']:10.3f} {floor}".rstrip()
        )
    lines += [
        f"  {BESIDE:26} {figures['recording_beside_ms']:9.3f}  a round, by a thread of its own",
        "",
        f"  outside of model forwards {100 * figures['outside_forwards_share']:.1f} % of a round",
        f"  without the timer the same took {figures['undisturbed_over_profiled']:.2f} times as long",
    ]
    return "\n".join(lines)
