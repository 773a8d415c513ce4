"""Where a round's time goes, by phase, against the floor: ``spectui bench --profile``.

Every prompt is decoded twice, recorded as in a run: undisturbed, and with a stopwatch on the parts of the engine. On
a GPU the stopwatch waits for the device at each change of phase, so that its rounds are longer than the undisturbed
ones, whose length stands beside.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from spectui import prompts
from spectui.decoding import engine
from spectui.decoding.bench.arms import RecordedArm
from spectui.decoding.bench.floor import bandwidth, floor_ms
from spectui.decoding.bench.measured import rounded
from spectui.decoding.bench.stopwatch import Phase, Stopwatch
from spectui.decoding.config import RunConfig
from spectui.decoding.device.eagle import DeviceEagleDrafter
from spectui.decoding.device.rounds import ON_DEVICE
from spectui.decoding.drafters.base import Drafter
from spectui.decoding.drafters.combined import CombinedDrafter
from spectui.decoding.drafters.eagle import EagleDrafter
from spectui.decoding.drafters.lm import LMDrafter
from spectui.decoding.engine import SpeculativeDecoder
from spectui.decoding.machine.environment import cpu_name
from spectui.decoding.models.load import LoadedModels, load_models
from spectui.decoding.worker.choose_tree import with_tree

PREFILL, PREFILL_DRAFT, DRAFT, LEVEL, VERIFY = (
    "prefill, target",
    "prefill, draft",
    "draft",
    "draft level",
    "verify",
)
ACCEPT, KEEP, LEARN, FIGURES = "accept", "keep in the cache", "tell the drafter", "figures of the nodes"
RECORD, TEXT, REST = "wait for recording", "text and status", "everything else"
BESIDE = "recording, beside decoding"
ORDER = (PREFILL, PREFILL_DRAFT, DRAFT, LEVEL, VERIFY, ACCEPT, KEEP, LEARN, FIGURES, RECORD, TEXT, REST)

ONCE_A_PROMPT = (PREFILL, PREFILL_DRAFT, TEXT)
"""Phases that are no part of a round."""


@dataclass(frozen=True)
class Profile:
    """What was timed; seconds and calls by phase, levels of drafting numbered."""

    seconds: dict[str, float]
    calls: dict[str, int]
    beside_seconds: float
    rounds: int
    tokens: int
    prompts: int
    undisturbed: float
    """Time for the same without the stopwatch, over time with it."""
    bandwidth: float
    floors: dict[str, float]
    """Milliseconds of a forward at the least, of `VERIFY` and `LEVEL`."""


def profile(
    config: RunConfig, chosen: Sequence[prompts.Prompt], tell: Callable[[str], None]
) -> tuple[RunConfig, LoadedModels, Profile]:
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
    watch = Stopwatch(
        REST, (lambda: torch.cuda.synchronize(device)) if device.type == "cuda" else lambda: None
    )
    beside = Stopwatch(BESIDE)
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
            with _timed(timed, watch, beside), watch.running():
                outcome = timed.run(ids, number)
                with watch.phase(TEXT):
                    models.tokenizer.decode(outcome.tokens)
            within += outcome.seconds
            rounds, tokens = rounds + outcome.rounds, tokens + len(outcome.tokens)
            tell(f"{number + 1}/{len(chosen)} {prompt.id}: {outcome.tokens_per_second:.1f} tok/s")
    return (
        config,
        models,
        Profile(
            dict(watch.seconds), dict(watch.calls), beside.seconds[RECORD], rounds, tokens, len(chosen),
            without / within, speed, floors,
        ),
    )  # fmt: skip


@contextlib.contextmanager
def _timed(arm: RecordedArm, watch: Stopwatch, beside: Stopwatch) -> Iterator[None]:
    """Inside, the parts of the arm's rounds are phases."""
    level = _Levels()
    with contextlib.ExitStack() as stack:
        for owner, name, phase in _parts(arm.decoder, level):
            stack.enter_context(watch.timing(owner, name, phase))
        for drafter in _drafters(arm.decoder.drafter):
            if isinstance(
                drafter, EagleDrafter
            ):  # the first level's, which is asked for apart from its forward
                stack.enter_context(watch.timing(drafter.head, "logits", level.same, counts=False))
        stack.enter_context(watch.timing(arm.recorder, "record", RECORD))
        stack.enter_context(watch.timing(arm.recorder, "settle", RECORD))
        for name in ("start_generation", "finish_generation"):
            stack.enter_context(watch.timing(arm.writer, name, TEXT))
        stack.enter_context(beside.timing(arm.recorder, "_write", RECORD))
        # Of its own thread, which is at rest whenever no round is being written.
        stack.enter_context(beside.running())
        yield


def _parts(decoder: SpeculativeDecoder, level: _Levels) -> Iterator[tuple[Any, str, Phase]]:
    """Owner, attribute and phase of everything that a round calls."""
    target = decoder.target
    yield target, "prefill", PREFILL
    for drafter in _drafters(decoder.drafter):
        yield drafter, "begin", level.begin
        yield drafter, "propose", level.start
        yield drafter, "observe", LEARN
        if isinstance(drafter, ON_DEVICE):
            yield drafter, "propose_tensors", level.start
            yield drafter, "settle", LEARN
            heads = isinstance(drafter, DeviceEagleDrafter)
            yield drafter, "_forward" if heads else "_score_tensors", level.next
        if isinstance(drafter, LMDrafter):
            yield drafter, "_logits", level.next
        if isinstance(drafter, EagleDrafter):
            yield drafter, "_feed_pending", level.next
            yield drafter, "_score", level.next
    if decoder.static is not None:
        yield decoder.static, "_scored", VERIFY
        yield decoder.static, "_judged", ACCEPT
        yield target, "compact", KEEP
        yield decoder.static, "_fetched", FIGURES
        return
    yield target, "append", VERIFY
    yield target, "keep", KEEP
    for name in ("best_tokens", "accept_greedy", "accept_sampling"):
        yield engine, name, ACCEPT
    yield engine, "distribution", FIGURES
    yield decoder, "_figures", FIGURES


class _Levels:
    """Numbers the forwards of one proposal; those of a prompt's prefill are no levels."""

    def __init__(self) -> None:
        self._level: int | None = None

    def begin(self) -> str:
        """A prompt."""
        self._level = None
        return PREFILL_DRAFT

    def start(self) -> str:
        """A proposal."""
        self._level = 0
        return DRAFT

    def next(self) -> str:
        """A forward."""
        if self._level is not None:
            self._level += 1
        return self.same()

    def same(self) -> str:
        """The forward that was last."""
        return PREFILL_DRAFT if self._level is None else f"{LEVEL} {self._level}"


def _drafters(drafter: Drafter) -> Iterator[Drafter]:
    if isinstance(drafter, CombinedDrafter):
        yield from drafter.parts
    else:
        yield drafter


def figures(config: RunConfig, models: LoadedModels, found: Profile) -> dict[str, Any]:
    """The figures of ``spectui bench --profile --json``. Milliseconds; a share is of all time, text included."""
    whole = sum(found.seconds.values())
    rounds = whole - sum(found.seconds.get(name, 0.0) for name in ONCE_A_PROMPT)
    in_models = sum(seconds for name, seconds in found.seconds.items() if _kind(name) in (LEVEL, VERIFY))
    device = models.target.device
    return {
        "target": config.target,
        "draft": config.draft_name,
        "tree": config.tree_spec,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name(),
        "dtype": str(models.target.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads() if device.type == "cpu" else None,
        "bandwidth_bytes_per_second": rounded(found.bandwidth),
        "prompts": found.prompts,
        "rounds": found.rounds,
        "tokens_per_round": rounded(found.tokens / found.rounds),
        "round_ms": rounded(1e3 * rounds / found.rounds),
        "undisturbed_over_profiled": rounded(found.undisturbed),
        "outside_forwards_share": rounded(1.0 - in_models / rounds),
        "phases": [_phase(name, found, whole) for name in sorted(found.seconds, key=_order)],
        "recording_beside_ms": rounded(1e3 * found.beside_seconds / found.rounds),
    }


def _phase(name: str, found: Profile, whole: float) -> dict[str, Any]:
    seconds, calls = found.seconds[name], found.calls.get(name, found.rounds)
    floor = found.floors.get(_kind(name))
    per_call = 1e3 * seconds / calls
    return {
        "phase": name,
        "per": "prompt" if name in ONCE_A_PROMPT else "round",
        "ms": rounded(1e3 * seconds / (found.prompts if name in ONCE_A_PROMPT else found.rounds)),
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


def table(found: dict[str, Any]) -> str:
    """The figures for people."""
    threads = f" ({found['threads']} threads)" if found["threads"] else ""
    lines = [
        f"{found['target']} <- {found['draft']}, {found['tree']}, {found['dtype']} on {found['device']}{threads}",
        f"{found['prompts']} prompts, {found['rounds']} rounds of {found['round_ms']:.2f} ms, "
        f"{found['tokens_per_round']:.2f} tokens each",
        f"floor: bytes of weights over memory bandwidth, {found['bandwidth_bytes_per_second'] / 1e9:.1f} GB/s measured",
        "",
        f"  {'':26} {'ms':>9}  {'':10} {'share':>6} {'calls':>7} {'ms a call':>10} {'floor ms':>9} {'x floor':>8}",
    ]
    for part in found["phases"]:
        floor = f"{part['floor_ms']:9.2f} {part['over_floor']:8.2f}" if part["floor_ms"] is not None else ""
        lines.append(
            f"  {part['phase']:26} {part['ms']:9.3f}  {'a ' + part['per']:10} {100 * part['share']:5.1f}% "
            f"{part['calls']:7} {part['ms_per_call']:10.3f} {floor}".rstrip()
        )
    lines += [
        f"  {BESIDE:26} {found['recording_beside_ms']:9.3f}  a round, by a thread of its own",
        "",
        f"  outside of model forwards {100 * found['outside_forwards_share']:.1f} % of a round",
        f"  without the stopwatch the same took {found['undisturbed_over_profiled']:.2f} times as long",
    ]
    return "\n".join(lines)
