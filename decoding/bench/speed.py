"""Speed against plain and assisted decoding, paired prompt by prompt in one run.

Every arm decodes the same prompts on the same machine in turn, the order rotating from prompt to
prompt, and every figure is a median of ratios taken within a prompt: the machine's drift cancels.
The transformers arms use an untouched copy of the target; ours use packed weights where that helps.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from spectui import prompts
from spectui.decoding.bench.arms import (
    Arm,
    EngineArm,
    GenerateArm,
    RecordedArm,
    attached_dashboard,
    fit_assistant,
)
from spectui.decoding.bench.paired import PairedOutcomes, divergence, median_interval, quartiles, rounded
from spectui.decoding.config import RunConfig
from spectui.decoding.engine import SpeculativeDecoder
from spectui.decoding.models.generation_settings import GenerationSettings
from spectui.decoding.models.load import load_models, with_draft
from spectui.decoding.worker.choose_tree import with_tree


def measure(
    config: RunConfig, chosen: Sequence[prompts.Prompt], *, dashboard: bool, tell: Callable[[str], None]
) -> tuple[RunConfig, PairedOutcomes, list[dict[str, Any]]]:
    """Run every arm on every prompt.

    Returns the configuration with the tree that was measured, the outcomes, and the divergences from
    `generate`.
    """
    tell("loading models")
    models = load_models(config, lambda stage, *_: tell(stage))
    config = with_tree(config, models, lambda stage, *_: tell(stage))
    reference = load_models(config.changed(speculate=False), tuned=False)
    model = models.draft_model(config)
    assistant = model and fit_assistant(
        reference.target, with_draft(config, reference, tuned=False).draft, tell
    )
    with tempfile.TemporaryDirectory(prefix="spectui-bench-") as folder:
        quiet = RecordedArm(Path(folder) / "quiet.db", config, models, chosen)
        watched = RecordedArm(Path(folder) / "watched.db", config, models, chosen)
        arms: dict[str, Arm] = {
            "greedy": GenerateArm(reference.target, config, models.tokenizer, assistant=None, lookup=False),
            "assisted": GenerateArm(
                reference.target, config, models.tokenizer, assistant=assistant, lookup=assistant is None
            ),
            "plain": EngineArm(SpeculativeDecoder(config.changed(speculate=False), models=models)),
            "speculative": EngineArm(SpeculativeDecoder(config, models=models)),
            "recorded": quiet,
        }  # fmt: skip
        if dashboard:
            arms["watched"] = watched
        measured = PairedOutcomes()
        divergences = []
        settings = GenerationSettings(reference.target, config, models.tokenizer)
        encode = partial(models.tokenizer.encode_prompt, switches=config.template_args)
        for arm in arms.values():
            arm.run(encode("Hello."), 0, warm_up=True)
        with attached_dashboard(watched.database, watched.session_id, wanted=dashboard) as screen:
            for number, prompt in enumerate(chosen, start=1):
                ids = encode(prompt.asked)
                measured.take_turns(arms, prompt, ids, lambda name: screen.awake(name == "watched"))
                done = measured.outcomes["speculative"][-1]
                reference_tokens = measured.outcomes["greedy"][-1].tokens
                if place := divergence(settings, ids, done.tokens, reference_tokens):
                    divergences.append({"prompt": prompt.id, **place})
                tell(f"{number}/{len(chosen)} {prompt.id}: {done.tokens_per_second:.1f} tok/s")
    return config, measured, divergences


def summary(config: RunConfig, measured: PairedOutcomes, divergences: list[dict[str, Any]]) -> dict[str, Any]:
    """The figures of ``spectui bench --json``; of each ratio over prompts `interval` is of its median (95 %; null with
    fewer than six prompts), `spread` has its quartiles."""
    ratios = {
        "ratio_vs_greedy": measured.ratios("speculative", "greedy"),
        "ratio_vs_own_plain": measured.ratios("speculative", "plain"),
        "ratio_vs_assisted": measured.ratios("speculative", "assisted"),
        "plain_vs_greedy": measured.ratios("plain", "greedy"),
        "recording_ratio": measured.ratios("recorded", "speculative"),
    }
    if "watched" in measured.outcomes:
        ratios["dashboard_ratio"] = measured.ratios("watched", "speculative")
    recorded = measured.outcomes["recorded"]
    speculative = measured.outcomes["speculative"]
    different = {d["prompt"] for d in divergences}
    return {
        "target": config.target,
        "draft": config.draft_name,
        "tree": config.tree_spec,
        "prompts": len(measured.tasks),
        **{name: rounded(median(values)) for name, values in ratios.items()},
        **({} if "dashboard_ratio" in ratios else {"dashboard_ratio": None}),
        "interval": {name: median_interval(values) for name, values in ratios.items()},
        "spread": {name: quartiles(values) for name, values in ratios.items()},
        "tokens_per_round": rounded(
            sum(len(o.tokens) for o in speculative) / sum(o.rounds for o in speculative)
        ),
        "verify_ms": rounded(median(ms for o in speculative for ms in o.verify_ms)),
        "draft_ms": rounded(median(ms for o in speculative for ms in o.draft_ms)),
        "other_share": rounded(
            1.0 - sum(o.forward_seconds for o in recorded) / sum(o.seconds for o in recorded)
        ),
        "tokens_per_second": {
            name: rounded(sum(len(o.tokens) for o in outcomes) / sum(o.seconds for o in outcomes))
            for name, outcomes in measured.outcomes.items()
        },
        "tasks": {task: _task_figures(measured, ratios, task) for task in dict.fromkeys(measured.tasks)},
        "identical_prompts": len(measured.tasks) - len(different) if config.greedy else None,
        "divergences": divergences if config.greedy else [],
    }


def _task_figures(measured: PairedOutcomes, ratios: dict[str, list[float]], task: str) -> dict[str, Any]:
    index = [i for i, t in enumerate(measured.tasks) if t == task]
    outcomes = [measured.outcomes["speculative"][i] for i in index]
    return {
        "tokens_per_round": rounded(sum(len(o.tokens) for o in outcomes) / sum(o.rounds for o in outcomes)),
        **{name: rounded(median(values[i] for i in index)) for name, values in ratios.items()},
        "interval": {name: median_interval([values[i] for i in index]) for name, values in ratios.items()},
    }


def _bracketed(interval: list[float] | None) -> str:
    return "[too few]" if interval is None else f"[{interval[0]:.2f}, {interval[1]:.2f}]"


def table(figures: dict[str, Any]) -> str:
    """The summary for people."""
    names = [
        ("ratio_vs_greedy", "speculative / transformers generate"),
        ("ratio_vs_assisted", "speculative / transformers assisted"),
        ("ratio_vs_own_plain", "speculative / own plain loop"),
        ("plain_vs_greedy", "own plain loop / transformers generate"),
        ("recording_ratio", "recording / not recording"),
        ("dashboard_ratio", "recording and watched / neither"),
    ]
    lines = [f"{figures['target']} <- {figures['draft']} {figures['tree']}, {figures['prompts']} prompts", ""]
    lines += ["paired speed ratios, median over prompts [its 95 % interval]; half of the prompts lie between"]
    for key, label in names:
        if figures.get(key) is not None:
            low, high = figures["spread"][key]
            interval = _bracketed(figures["interval"][key])
            lines.append(f"  {label:40} {figures[key]:6.2f}  {interval:14}  {low:.2f} and {high:.2f}")
    lines += [
        "",
        f"  {'task':12} {'tok/round':>9} {'vs generate':>12} {'vs assisted':>12} {'vs own plain':>13}",
    ]
    for task, row in figures["tasks"].items():
        lines.append(
            f"  {task:12} {row['tokens_per_round']:9.2f} {row['ratio_vs_greedy']:12.2f} "
            f"{row['ratio_vs_assisted']:12.2f} {row['ratio_vs_own_plain']:13.2f}"
        )
    rates = ", ".join(f"{name} {rate:.1f}" for name, rate in figures["tokens_per_second"].items())
    lines += ["", f"  tokens/s: {rates}"]
    lines.append(
        f"  {figures['tokens_per_round']:.2f} tokens/round, draft {figures['draft_ms']:.1f} ms, verify "
        f"{figures['verify_ms']:.1f} ms, outside model forwards {100 * figures['other_share']:.1f} % (recording)"
    )
    if figures["identical_prompts"] is not None:
        lines.append(
            f"  output identical to generate: {figures['identical_prompts']} of {figures['prompts']} prompts"
        )
        lines += [
            f"    {d['prompt']} differs at token {d['position']}, margin {d['margin']:.1e}"
            for d in figures["divergences"]
        ]
    return "\n".join(lines)
