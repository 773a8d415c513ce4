"""Speed against plain and assisted decoding, paired prompt by prompt in one run: ``python -m decoding.bench``.

Every arm decodes the same prompts on the same machine in turn, the order rotating from prompt to
prompt, and every figure is a median of ratios taken within a prompt: the machine's drift cancels.
The transformers arms use an untouched copy of the target; ours use packed weights where that helps.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

import prompts
from decoding.bench_arms import Arm, EngineArm, GenerateArm, Outcome, RecordedArm, attached_dashboard
from decoding.config import RunConfig
from decoding.engine import SpeculativeDecoder
from decoding.errors import DecodingError
from decoding.models import load_models
from store.errors import StoreError


@dataclass
class Measured:
    """All outcomes, by arm, in prompt order."""

    tasks: list[str] = field(default_factory=list)
    outcomes: dict[str, list[Outcome]] = field(default_factory=dict)

    def ratios(self, arm: str, base: str) -> list[float]:
        """Speed of `arm` over `base` in tokens per second, prompt by prompt."""
        pairs = zip(self.outcomes[arm], self.outcomes[base], strict=True)
        return [a.tokens_per_second / b.tokens_per_second for a, b in pairs]


def measure(
    config: RunConfig, chosen: Sequence[prompts.Prompt], *, dashboard: bool, tell: Callable[[str], None]
) -> tuple[Measured, list[dict[str, Any]]]:
    """Run every arm on every prompt. Returns the outcomes and the divergences from `generate`."""
    tell("loading models")
    models = load_models(config, lambda stage, *_: tell(stage))
    reference = load_models(config.changed(speculate=False), tuned=False)
    with tempfile.TemporaryDirectory(prefix="spectui-bench-") as folder:
        quiet = RecordedArm(Path(folder) / "quiet.db", config, models, chosen)
        watched = RecordedArm(Path(folder) / "watched.db", config, models, chosen)
        arms: dict[str, Arm] = {
            "greedy": GenerateArm(reference.target, config, assistant=None, lookup=False),
            "assisted": GenerateArm(
                reference.target, config, assistant=models.draft and load_models(config, tuned=False).draft,
                lookup=models.draft is None,
            ),
            "plain": EngineArm(SpeculativeDecoder(config.changed(speculate=False), models=models)),
            "speculative": EngineArm(SpeculativeDecoder(config, models=models)),
            "recorded": quiet,
        }  # fmt: skip
        if dashboard:
            arms["watched"] = watched
        measured = Measured(outcomes={name: [] for name in arms})
        divergences = []
        encode = models.tokenizer.encode_prompt
        for arm in arms.values():
            arm.run(encode("Hello."), 0, warm_up=True)
        with attached_dashboard(watched.database, watched.session_id, wanted=dashboard) as screen:
            for position, prompt in enumerate(chosen):
                ids = encode(prompt.text)
                measured.tasks.append(prompt.task)
                names = list(arms)
                for name in names[position % len(names) :] + names[: position % len(names)]:
                    with screen.awake(name == "watched"):
                        measured.outcomes[name].append(arms[name].run(ids, position))
                divergences += _divergence(reference.target, prompt.id, ids, measured)
                done = measured.outcomes["speculative"][-1]
                tell(f"{position + 1}/{len(chosen)} {prompt.id}: {done.tokens_per_second:.1f} tok/s")
    return measured, divergences


def _divergence(model: Any, prompt_id: str, ids: list[int], measured: Measured) -> list[dict[str, Any]]:
    """Where our output leaves that of `generate`, and the reference's top-two logit margin there."""
    ours, theirs = measured.outcomes["speculative"][-1].tokens, measured.outcomes["greedy"][-1].tokens
    if ours == theirs:
        return []
    at = next(
        (i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(len(ours), len(theirs))
    )
    with torch.inference_mode():
        logits = model(torch.tensor([[*ids, *theirs[:at]]], device=model.device)).logits[0, -1].float()
    first, second = logits.topk(2).values.tolist()
    return [{"prompt": prompt_id, "position": at, "margin": first - second}]


def summary(config: RunConfig, measured: Measured, divergences: list[dict[str, Any]]) -> dict[str, Any]:
    """The figures of ``spectui bench --json``; `spread` has quartiles of each ratio over prompts."""
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
        **{name: _rounded(median(values)) for name, values in ratios.items()},
        **({} if "dashboard_ratio" in ratios else {"dashboard_ratio": None}),
        "spread": {name: [_rounded(q) for q in np.quantile(v, [0.25, 0.75])] for name, v in ratios.items()},
        "tokens_per_round": _rounded(
            sum(len(o.tokens) for o in speculative) / sum(o.rounds for o in speculative)
        ),
        "verify_ms": _rounded(median(ms for o in speculative for ms in o.verify_ms)),
        "draft_ms": _rounded(median(ms for o in speculative for ms in o.draft_ms)),
        "other_share": _rounded(
            1.0 - sum(o.forward_seconds for o in recorded) / sum(o.seconds for o in recorded)
        ),
        "tokens_per_second": {
            name: _rounded(sum(len(o.tokens) for o in outcomes) / sum(o.seconds for o in outcomes))
            for name, outcomes in measured.outcomes.items()
        },
        "tasks": {task: _of_task(measured, ratios, task) for task in dict.fromkeys(measured.tasks)},
        "identical_prompts": len(measured.tasks) - len(different) if config.greedy else None,
        "divergences": divergences if config.greedy else [],
    }


def _of_task(measured: Measured, ratios: dict[str, list[float]], task: str) -> dict[str, float]:
    index = [i for i, t in enumerate(measured.tasks) if t == task]
    outcomes = [measured.outcomes["speculative"][i] for i in index]
    return {
        "tokens_per_round": _rounded(sum(len(o.tokens) for o in outcomes) / sum(o.rounds for o in outcomes)),
        **{name: _rounded(median(values[i] for i in index)) for name, values in ratios.items()},
    }


def _rounded(value: float) -> float:
    return round(float(value), 4)


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
    lines += ["paired speed ratios, median over prompts [quartiles]"]
    for key, label in names:
        if figures.get(key) is not None:
            low, high = figures["spread"][key]
            lines.append(f"  {label:40} {figures[key]:6.2f}  [{low:.2f}, {high:.2f}]")
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


def main() -> int:
    """Entry point of ``python -m decoding.bench`` and of ``spectui bench``."""
    parser = argparse.ArgumentParser(prog="spectui bench", description=(__doc__ or "").split(":")[0])
    parser.add_argument("--per-task", type=int, default=3, metavar="N", help="prompts per task (default 3)")
    parser.add_argument("--tasks", help="tasks, separated by commas (default: all bundled)")
    parser.add_argument("--prompts", type=Path, help="a JSONL file instead of the bundled prompts")
    parser.add_argument("--max-new-tokens", type=int, default=96, metavar="T")
    for name in ("target", "draft", "tree", "device", "dtype"):
        parser.add_argument(f"--{name}", default=getattr(RunConfig(), name))
    parser.add_argument(
        "--no-dashboard", action="store_true", help="leave out the arm with a dashboard attached"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    arguments = parser.parse_args()
    try:
        chosen = prompts.interleave(prompts.select(arguments.prompts, arguments.tasks, arguments.per_task))
        config = RunConfig(
            max_new_tokens=arguments.max_new_tokens,
            **{name: getattr(arguments, name) for name in ("target", "draft", "tree", "device", "dtype")},
        )
        tell = lambda text: print(text, file=sys.stderr, flush=True)  # noqa: E731, T201
        measured, divergences = measure(config, chosen, dashboard=not arguments.no_dashboard, tell=tell)
    except (DecodingError, StoreError, prompts.PromptError) as error:
        if arguments.debug:
            raise
        sys.stderr.write(f"spectui: {error}\n")
        return 1
    figures = summary(config, measured, divergences)
    sys.stdout.write((json.dumps(figures) if arguments.json else table(figures)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
