"""Section E: tokens per second of whole decoding, on models that agree by construction."""

from __future__ import annotations

import copy
import statistics
import tempfile
from pathlib import Path
from typing import Any

import torch

from spectui.decoding.config import RunConfig
from spectui.decoding.drafters.registry import EAGLE
from spectui.decoding.engine import SpeculativeDecoder
from spectui.decoding.models.load import LoadedModels
from spectui.decoding.models.placement import free_bytes
from spectui.prompts import Prompt
from tests.bench.gpu_check import agreeing
from tests.bench.gpu_check.report import Report
from tests.bench.gpu_check.shapes import free, loaded
from tests.bench.gpu_check.texts import environment
from tests.bench.gpu_check.watch import Watch

TITLE = "end to end, pairs that agree by construction"
SECONDS = 100.0
AGAIN = 25.0
"""Seconds of one more prompt with every arm."""
PROMPTS, TOKENS = 2, 128
LENGTH = 24
TREES = {"full:3x2": (3, 2), "chain:5": (5, 1), "dynamic:8x4": None}
"""Depth and width where the rounds that a tree needs are known in advance."""


def run(report: Report, watch: Watch) -> None:
    """Every arm on the same prompts in turn; texts and rounds are those that were foretold."""
    setting = report.setting
    dtype = torch.float16 if setting.on_gpu else torch.float32
    tokens = 16 if setting.tiny else TOKENS
    language = agreeing.Language.of(agreeing.SMALL["vocab_size"] if setting.tiny else 32000)
    target, draft = agreeing.target(setting, language, dtype), agreeing.draft(setting, language, dtype)
    bytes_of_both = sum(p.nbytes for model in (target, draft) for p in model.parameters())
    enough = free_bytes(setting.device) > 1.5 * bytes_of_both
    untouched = (copy.deepcopy(target), copy.deepcopy(draft)) if enough else None
    if untouched is None:
        report.skip("generate and assisted", f"their own copies need {bytes_of_both / 1e9:.0f} GB")
    pair = loaded(target, draft)
    headed = loaded(target, agreeing.head(target, language), EAGLE)
    starts = [
        language.text(int(language.ring[977 * n % len(language.ring)]), LENGTH) for n in range(PROMPTS + 1)
    ]
    with tempfile.TemporaryDirectory(prefix="gpu-check-") as folder:
        arms = _arms(Path(folder) / "check.db", pair, headed, untouched, tokens)
        outcomes = _in_turn(report, arms, starts)
    for name, arm in arms.items():
        done = starts[1 : 1 + len(outcomes[name])]
        _verdicts(report, watch, name, arm, outcomes[name], language, done, tokens)
    _ratios(report, outcomes)
    del arms, pair, headed, target, draft, untouched
    free(setting)


def _arms(
    database: Path, pair: LoadedModels, headed: LoadedModels, untouched: tuple[Any, Any] | None, tokens: int
) -> dict[str, Any]:
    """Ways to decode, by name."""
    from spectui.decoding.bench.arms import EngineArm, GenerateArm, RecordedArm

    base = RunConfig(draft="embedded", tree="full:3x2", max_new_tokens=tokens)
    alone = LoadedModels(pair.target, None, pair.tokenizer)
    of_head = base.changed(draft="eagle", tree="dynamic:8x4")
    with environment(SPECTUI_STATIC="1"):
        arms: dict[str, Any] = {
            "plain": EngineArm(SpeculativeDecoder(base.changed(speculate=False), models=alone)),
            **{tree: EngineArm(SpeculativeDecoder(base.changed(tree=tree), models=pair)) for tree in TREES},
            "recorded full:3x2": RecordedArm(
                database, base, pair, [Prompt(f"p{n}", "math", "counted") for n in range(PROMPTS)]
            ),
            "head dynamic:8x4": EngineArm(SpeculativeDecoder(of_head, models=headed)),
        }
    with environment(SPECTUI_STATIC="0"):
        arms["growing full:3x2"] = EngineArm(SpeculativeDecoder(base, models=pair))
    if untouched is not None:
        for name, assistant in (("generate", None), ("assisted", untouched[1])):
            arms[name] = GenerateArm(untouched[0], base, pair.tokenizer, assistant=assistant, lookup=False)
    return arms


def _in_turn(report: Report, arms: dict[str, Any], starts: list[list[int]]) -> dict[str, list[Any]]:
    """Outcomes of each arm, prompt by prompt, the arms taking turns; the first prompt warms them up."""
    for name, arm in arms.items():
        outcome = arm.run(starts[0], 0, warm_up=True)
        report.figure("first prompt", outcome.seconds, "s", arm=name)
    outcomes: dict[str, list[Any]] = {name: [] for name in arms}
    names = list(arms)
    for position, ids in enumerate(starts[1:]):
        if position and not report.fits(f"prompt {position}", AGAIN):
            break
        for name in names[position % len(names) :] + names[: position % len(names)]:
            outcomes[name].append(arms[name].run(ids, position))
            report.figure("speed", outcomes[name][-1].tokens_per_second, "tok/s", arm=name, prompt=position)
    return outcomes


def _verdicts(
    report: Report, watch: Watch, name: str, arm: Any, outcomes: list[Any], language: agreeing.Language,
    starts: list[list[int]], tokens: int,
) -> None:  # fmt: skip
    wrong = [n for n, (ids, outcome) in enumerate(zip(starts, outcomes, strict=True))
             if outcome.tokens != language.text(ids[-1], tokens)]  # fmt: skip
    report.check(f"{name}: the text that was foretold", not wrong, prompts_that_differ=wrong)
    if not hasattr(arm, "decoder"):
        return
    rounds = sum(o.rounds for o in outcomes)
    report.figure("tokens per round", len(outcomes) * tokens / rounds, arm=name)
    tree = name.split()[-1]
    if name != "plain":
        most, least = ((3, 2), (3, 2)) if TREES[tree] == (3, 2) else ((5, 1), (5, 1))
        if (
            TREES[tree] is None
        ):  # its nodes hang on ties of the draft: between its first children alone, and all
            most, least = (4, 1), (4, 2)
        foretold = [
            sum(language.rounds(ids[-1], tokens, *shape) for ids in starts) for shape in (least, most)
        ]
        holds = foretold[0] <= rounds <= foretold[1]
        report.check(f"{name}: the rounds that were foretold", holds, rounds=rounds, foretold=foretold)
    for kind in ("draft", "verify"):
        every = [ms for o in outcomes for ms in getattr(o, f"{kind}_ms")]
        report.figure(kind, statistics.median(every), "ms", arm=name)
    seconds, forwards = (sum(getattr(o, at) for o in outcomes) for at in ("seconds", "forward_seconds"))
    report.figure("round", 1e3 * seconds / rounds, "ms", arm=name)
    report.figure("outside forwards", 1.0 - forwards / seconds, "share", arm=name)
    if report.setting.on_gpu and not name.startswith("growing"):
        problems = watch.problems(arm.decoder)
        report.check(f"{name}: captured", not problems, problems=problems)


def _ratios(report: Report, outcomes: dict[str, list[Any]]) -> None:
    """Speeds over each other, the median over prompts."""
    for name, of in (
        ("full:3x2", "plain"), ("full:3x2", "growing full:3x2"), ("recorded full:3x2", "full:3x2"),
        ("plain", "generate"),
        *((tree, other) for tree in (*TREES, "head dynamic:8x4") for other in ("generate", "assisted")),
    ):  # fmt: skip
        if name in outcomes and of in outcomes:
            pairs = zip(outcomes[name], outcomes[of], strict=True)
            ratio = statistics.median(a.tokens_per_second / b.tokens_per_second for a, b in pairs)
            report.figure("ratio", ratio, "x", arm=name, over=of)
