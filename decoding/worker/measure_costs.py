"""Timing of a round's parts on loaded models: six seconds at the first start with a pair of models."""

from __future__ import annotations

import hashlib
import itertools
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from spectui.decoding.config import RunConfig
from spectui.decoding.device.switch import language_model, uses_fixed_sizes
from spectui.decoding.engine import SpeculativeDecoder
from spectui.decoding.machine.environment import cpu_name
from spectui.decoding.models.load import LoadedModels, Progress
from spectui.decoding.rounds import Round
from spectui.decoding.target.language_model import LanguageModel
from spectui.decoding.trees.costs import Costs, Machine, Timing
from spectui.decoding.trees.shape import ancestor_mask
from spectui.decoding.trees.spec import recycling_shape, trimmed_spec
from spectui.decoding.worker.memory import free_unused
from spectui.store.device_class import DeviceClass

STAGE = "measuring what a tree costs"

PREFIX = 150
"""Tokens in the cache while verification is timed: a short prompt with its first answer."""

ROWS = (1, 2, 4, 6, 8, 12, 16, 24, 32)
STEPS = 6
"""Most sizes that are added where the curve rises most."""
LOOKS = 5
"""Forwards of a size while steps are looked for, of which the fastest counts: they warm the size up, too."""
PASSES = 13
QUICK_ROWS = (1, 4, 8, 16, 24)
QUICK_STEPS = 3
QUICK_LOOKS = 2
QUICK_PASSES = 4
"""As much as a start can afford: eight sizes show the curve's shape with its steepest step, four passes its noise."""

FLAT = 0.05
"""A rise between two sizes, as a share of the smaller one, within which no step is looked for."""

GPU_ROWS = (48, 64, 96, 128)
"""Further sizes on a GPU, where rows cost next to nothing and larger trees may pay."""

PLAIN = "plain"
DRAFT_PROMPT = 32
DRAFT_ROUNDS = 8
"""Fewest rounds with each tree, and without any, spread over all passes."""
DRAFT_TREES = ("paths:0,1", "paths:00,10", "paths:0000,1000", "paths:000000,100000")
"""Trees that a draft model or a head grows while it is timed: chains side by side, so that forwards have some rows, as
those of most trees do. Every round has all levels, whatever the draft's probabilities, while a dynamic tree is mostly
less deep than what was scored for it."""


def machine(config: RunConfig, models: LoadedModels) -> Machine:
    """The key that the costs of these models on this computer are kept under."""
    device: torch.device = models.target.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name()
    kernels = "" if device.type == "cuda" else f" {torch.backends.cpu.get_cpu_capability()}"
    kernels += " fixed sizes" if uses_fixed_sizes(device.type) else ""
    return Machine(
        target=_identity(config.target, models.target),
        drafter=_identity(config.base_draft, models.draft),
        device=f"{name}{kernels}",
        dtype=str(models.target.dtype).removeprefix("torch."),
        threads=torch.get_num_threads() if device.type == "cpu" else 0,
        torch=torch.__version__,
    )


def device_class(config: RunConfig, models: LoadedModels) -> DeviceClass:
    """The class of device that these models decode on here."""
    here = machine(config, models)
    return DeviceClass(here.device, here.dtype, here.threads)


def measure(
    config: RunConfig, models: LoadedModels, progress: Progress | None = None, *, thorough: bool = False
) -> Costs:
    """Time verification by its rows, on the path that rounds take, and some real rounds.

    All of them take turns, so that drift of the machine affects each alike. Rounds of fixed sizes do not: each decoder
    has caches and graphs of its own, and together they may not fit where a run does. `thorough` takes more sizes and
    passes: 24 seconds instead of six with a small model on a CPU. Decodes greedily whatever `config` says.
    """
    tell = progress or (lambda *_: None)
    rows = list(ROWS if thorough else QUICK_ROWS)
    if models.target.device.type == "cuda":
        rows += GPU_ROWS
    passes = PASSES if thorough else QUICK_PASSES
    steps, looks = (STEPS, LOOKS) if thorough else (QUICK_STEPS, QUICK_LOOKS)
    model = language_model(models.target)
    rows = [n for n in rows if n < model.context]
    prefix = min(PREFIX, model.context - max(rows))
    model.prefill(_tokens(prefix, model.vocab_size))
    tell(STAGE, 0.0, float(passes + 1), "passes")
    rows = refine_steps(rows, steps, looks, lambda n: verify_once(model, n))
    times: dict[int, list[float]] = {n: [] for n in rows}
    endless, each = _endless(config, models), -(-DRAFT_ROUNDS // passes)
    rounds: dict[str, list[Round]] = {tree: [] for tree in endless}
    in_turn = not uses_fixed_sizes(models.target.device.type)
    for done in range(passes):
        tell(STAGE, float(done + 1), float(passes + 1), "passes")
        for n in rows:
            times[n].append(verify_once(model, n))
        for tree, more in endless.items():
            rounds[tree] += itertools.islice(more, each if in_turn else 0)
    if not in_turn:
        del model
        try:
            for tree in rounds:
                free_unused()
                rounds[tree] = list(itertools.islice(endless.pop(tree), passes * each))
        finally:
            free_unused()
    draft, other, other_node = _of_rounds(rounds.pop(PLAIN), list(rounds.values()))
    return Costs(
        machine(config, models),
        {n: Timing.of(ms) for n, ms in remove_drift(times).items()},
        draft,
        other,
        prefix,
        datetime.now(UTC).isoformat(timespec="seconds"),
        other_node,
    )


def refine_steps(rows: Sequence[int], more: int, looks: int, ms: Callable[[int], float]) -> list[int]:
    """`rows`, ascending, with up to `more` sizes added where the time `ms` of a forward rises most.

    Kernels work in blocks of rows: one row more may cost a fifth more, where the ten before it cost next to
    nothing. A straight line between two sizes is off by no more than the rise between them, as long as more rows take
    no less time; so the largest rise is halved, again and again. The size in the middle is timed in turn with those
    beside it, for a machine that others use may have become slower.
    """
    took = _fastest(sorted(rows, reverse=True), looks, ms)  # buffers of fixed sizes grow but once
    for _ in range(more):
        rises = [(took[b] - took[a], a, b) for a, b in itertools.pairwise(sorted(took)) if b - a > 1]
        rise, low, high = max(rises, default=(0.0, 0, 0))
        if not rises or rise <= FLAT * took[low]:
            break
        middle = (low + high) // 2
        now = _fastest([low, middle, high], looks, ms)
        slower = (now[low] * now[high] / (took[low] * took[high])) ** 0.5
        took[middle] = now[middle] / slower
    return sorted(took)


def _fastest(rows: Sequence[int], looks: int, ms: Callable[[int], float]) -> dict[int, float]:
    """The least of `looks` times of each size, taken in turn."""
    passes = [[ms(n) for n in rows] for _ in range(looks)]
    return {n: min(took) for n, *took in zip(rows, *passes, strict=True)}


def remove_drift(times: Mapping[int, Sequence[float]]) -> dict[int, list[float]]:
    """`times` by size, in the same order of passes for all, scaled as if every pass had been as fast as the median one.

    A machine that others use is slower for seconds at a time, which would bend the curve.
    """
    logs = np.log(np.asarray(list(times.values())))
    of_pass = logs.mean(axis=0)
    level = np.exp(logs - of_pass + np.median(of_pass))
    return {n: row.tolist() for n, row in zip(times, level, strict=True)}


def verify_once(model: LanguageModel, rows: int) -> float:
    """Milliseconds of one forward of a tree with its root; the cache is as before."""
    shape = recycling_shape(rows - 1) if rows > 1 else None
    depth = np.concatenate([[0], shape.depth]) if shape else np.zeros(1, dtype=np.int64)
    mask = ancestor_mask(shape.parent) if shape else np.ones((1, 1), dtype=np.bool_)
    tokens = np.asarray(_tokens(rows, model.vocab_size))
    start = time.perf_counter()
    model.append(tokens, depth, mask)
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)
    taken = time.perf_counter() - start
    model.keep([])
    return 1e3 * taken


def _endless(config: RunConfig, models: LoadedModels) -> dict[str, Iterator[Round]]:
    """Endless rounds by tree: of plain decoding, and with each of `DRAFT_TREES` as far as the draft can fill them, or
    with the default tree of a drafter without weights; without lookup beside it."""
    greedy = config.changed(draft=config.base_draft, tree="", max_new_tokens=32, temperature=0.0)
    trees = [""] if models.draft is None else [trimmed_spec(tree, models.deepest) for tree in DRAFT_TREES]
    return {PLAIN: _rounds(greedy.changed(speculate=False), models)} | {
        tree: _rounds(greedy.changed(tree=tree), models) for tree in trees
    }


def _rounds(config: RunConfig, models: LoadedModels) -> Iterator[Round]:
    """Rounds without end, of as many outputs as it takes; the very first one is left out."""
    decoder = SpeculativeDecoder(config, models=models)
    ids = _tokens(min(DRAFT_PROMPT, decoder.target.context - 1), decoder.target.vocab_size)
    endless = (
        round_ for position in itertools.count() for round_ in decoder.generate(ids, position=position)
    )
    next(endless)
    yield from endless


def _of_rounds(
    plain: Sequence[Round], drafted: Sequence[Sequence[Round]]
) -> tuple[dict[int, Timing], Timing, float]:
    """Times of drafting by levels, of the rest of a round without nodes, and of the rest that each node adds."""
    draft = {}
    for rounds in drafted:
        depth = [max(int(r.tree.depth.max(initial=0)), 1) for r in rounds]
        # Where nothing is known of a token yet, or the context ends, a tree has not all of its levels.
        draft[max(depth)] = Timing.of(
            [r.draft_ms * max(depth) / levels for r, levels in zip(rounds, depth, strict=True)]
        )
    other = Timing.of([r.other_ms for r in plain])
    largest = drafted[-1]
    nodes = float(np.mean([r.tree.size for r in largest]))
    more = float(np.median([r.other_ms for r in largest])) - other.median
    return draft, other, max(more, 0.0) / max(nodes, 1.0)


def _tokens(count: int, vocab_size: int) -> list[int]:
    """Arbitrary tokens: times do not depend on them."""
    return [(7 * i + 100) % vocab_size for i in range(count)]


def _identity(name: str, model: Any | None) -> str:
    """A model's name with a digest of its architecture, which decides its time; just a name without a model."""
    if model is None:
        return name
    config = model.config
    facts = config.to_dict() if hasattr(config, "to_dict") else asdict(config)
    known = {
        key: value for key, value in facts.items() if key not in ("_name_or_path", "transformers_version")
    }
    text = json.dumps(known, sort_keys=True, default=str)
    return f"{Path(name).name} {hashlib.sha256(text.encode()).hexdigest()[:8]}"
