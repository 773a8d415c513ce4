"""Timing what a round is made of, on loaded models: two seconds at the first start with a pair of models."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from decoding.config import RunConfig
from decoding.costs import Costs, Machine, Timing
from decoding.eagle.head import HeadConfig
from decoding.engine import Round, SpeculativeDecoder
from decoding.environment import cpu_name
from decoding.language_model import LanguageModel
from decoding.models import LoadedModels, Progress
from decoding.tree import ancestor_mask, recycling_shape

STAGE = "measuring what a tree costs"

PREFIX = 150
"""Tokens in the cache while verification is timed: a short prompt with its first answer."""

ROWS = (1, 2, 4, 6, 8, 12, 16, 24, 32)
PASSES = 9
QUICK_ROWS = (1, 4, 8, 16, 24)
QUICK_PASSES = 3
"""What a start can afford: five sizes tell the curve's shape, three passes its noise."""

GPU_ROWS = (48, 64, 96, 128)
"""Where rows cost next to nothing larger trees come into question."""

DRAFT_PROMPT = 32
DRAFT_ROUNDS = 12
DRAFT_TREE = "full:3x2"
"""What a draft model or a head grows while it is timed: every round has all of its levels, whatever the draft thinks
of the text, where a dynamic tree is mostly less deep than what was looked at for it."""


def machine(config: RunConfig, models: LoadedModels) -> Machine:
    """What the costs of these models on this computer are kept under."""
    device: torch.device = models.target.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name()
    kernels = "" if device.type == "cuda" else f" {torch.backends.cpu.get_cpu_capability()}"
    return Machine(
        target=_identity(config.target, models.target),
        drafter=_identity(config.base_draft, models.draft or models.head),
        device=f"{name}{kernels}",
        dtype=str(models.target.dtype).removeprefix("torch."),
        threads=torch.get_num_threads() if device.type == "cpu" else 0,
        torch=torch.__version__,
    )


def measure(
    config: RunConfig, models: LoadedModels, progress: Progress | None = None, *, thorough: bool = False
) -> Costs:
    """Time verification by its rows, and a few real rounds of the drafter.

    All sizes take turns, so that the machine's drift meets each alike. `thorough` takes more sizes and
    passes: five seconds instead of two with a small model on a CPU. Decodes greedily whatever `config` says.
    """
    tell = progress or (lambda *_: None)
    rows = list(ROWS if thorough else QUICK_ROWS)
    if models.target.device.type == "cuda":
        rows += GPU_ROWS
    passes = PASSES if thorough else QUICK_PASSES
    model = LanguageModel(models.target)
    rows = [n for n in rows if n < model.context]
    prefix = min(PREFIX, model.context - max(rows))
    model.prefill(_tokens(prefix, model.vocab_size))
    times: dict[int, list[float]] = {n: [] for n in rows}
    for done in range(passes + 1):
        tell(STAGE, float(done), float(passes + 2), "passes")
        for n in rows:
            taken = verify_once(model, n)
            if done:  # the first pass warms up
                times[n].append(taken)
    tell(STAGE, float(passes + 1), float(passes + 2), "passes")
    level, other = _round_once(config, models)
    return Costs(
        machine(config, models),
        {n: Timing.of(ms) for n, ms in without_drift(times).items()},
        level,
        other,
        prefix,
        datetime.now(UTC).isoformat(timespec="seconds"),
    )


def without_drift(times: Mapping[int, Sequence[float]]) -> dict[int, list[float]]:
    """`times` by size, in the same order of passes for all, as if every pass had been as fast as the median one.

    A machine that others use is slower for seconds at a time, which would bend the curve where it hits.
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
    taken = time.perf_counter() - start
    model.keep([])
    return 1e3 * taken


def _round_once(config: RunConfig, models: LoadedModels) -> tuple[Timing, Timing]:
    """Drafting per level and what is neither drafting nor verifying, from real rounds, the first left out.

    With `DRAFT_TREE`, or the fixed tree of a drafter without a model, and without lookup beside it.
    """
    tree = "" if models.draft is None and models.head is None else DRAFT_TREE
    plain = config.changed(draft=config.base_draft, tree=tree, max_new_tokens=32, temperature=0.0)
    decoder = SpeculativeDecoder(plain, models=models)
    ids = _tokens(min(DRAFT_PROMPT, decoder.target.context - 1), decoder.target.vocab_size)
    rounds: list[Round] = []
    position = 0
    while len(rounds) <= DRAFT_ROUNDS:
        for round_ in decoder.generate(ids, position=position):
            rounds.append(round_)
            if len(rounds) > DRAFT_ROUNDS:
                break
        position += 1
    timed = rounds[1:]
    levels = [r.draft_ms / max(int(r.tree.depth.max(initial=0)), 1) for r in timed]
    return Timing.of(levels), Timing.of([r.other_ms for r in timed])


def _tokens(count: int, vocab_size: int) -> list[int]:
    """Any tokens will do: time does not depend on which."""
    return [(7 * i + 100) % vocab_size for i in range(count)]


def _identity(name: str, model: Any | None) -> str:
    """A model's name and a digest of its architecture, which is what decides how long it takes.

    Drafters without a model are their name.
    """
    if model is None:
        return name
    config = model.config
    facts = asdict(config) if isinstance(config, HeadConfig) else config.to_dict()
    known = {
        key: value for key, value in facts.items() if key not in ("_name_or_path", "transformers_version")
    }
    text = json.dumps(known, sort_keys=True, default=str)
    return f"{Path(name).name} {hashlib.sha256(text.encode()).hexdigest()[:8]}"
