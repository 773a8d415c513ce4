"""The figures of ``spectui bench --drafters ... --json``, from a comparison."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any

from spectui.decoding.bench.drafters import Comparison
from spectui.decoding.bench.drafters_table import GREEDY, PLAIN, PROMPT_LOOKUP, RATIOS
from spectui.decoding.bench.paired import median_interval, quartiles, rounded
from spectui.decoding.config import RunConfig
from spectui.decoding.machine.environment import environment
from spectui.store.counts.metrics import hazard, tokens_per_round


def figures(config: RunConfig, comparison: Comparison) -> dict[str, Any]:
    """The figures of ``spectui bench --drafters ... --json``.

    Under ``drafters`` and ``baselines`` every arm has the same keys, overall and again under ``tasks``;
    what does not apply to an arm is null or empty. ``acceptance`` is the hazard at depths 1, 2, ... of
    `store.counts.metrics` and ``at_risk`` the rounds it is a share of; ``spread`` has first and third quartiles,
    ``interval`` the 95 % interval of a ratio's median. ``paired`` has the speed of every drafter over the
    first, prompt by prompt.
    """
    measured = comparison.measured
    tasks = Counter(measured.tasks)
    arms = {name: _arm(comparison, name, tasks) for name in measured.outcomes}
    changed = {d["prompt"] for d in comparison.divergences}
    return {
        "target": config.target,
        "device": comparison.device,
        "dtype": comparison.dtype,
        "max_new_tokens": config.max_new_tokens,
        "prompts": len(measured.prompts),
        "tasks": dict(tasks),
        "drafters": {
            name: {
                "draft": drafter.draft_name,
                "tree": drafter.tree_spec,
                "tree_chosen": name in comparison.chosen,
                **arms[name],
            }
            for name, drafter in comparison.drafters.items()
        },
        "baselines": {name: arms[name] for name in comparison.baselines},
        "paired": {name: _paired(comparison, name) for name in list(comparison.drafters)[1:]},
        "identical_prompts": len(measured.prompts) - len(changed),
        "divergences": comparison.divergences,
        "per_prompt": [
            {
                "id": prompt.id,
                "task": prompt.task,
                "arms": {
                    name: {
                        "tokens": len(outcomes[i].tokens),
                        "seconds": outcomes[i].seconds,
                        "rounds": outcomes[i].rounds or None,
                    }
                    for name, outcomes in measured.outcomes.items()
                },
            }
            for i, prompt in enumerate(measured.prompts)
        ],
        "environment": environment(),
    }


def _paired(comparison: Comparison, drafter: str) -> dict[str, Any]:
    """The drafter's tokens per second over those of the first one."""
    first = next(iter(comparison.drafters))
    ratios = comparison.measured.ratios(drafter, first)
    return {
        "over": first,
        "ratio": rounded(median(ratios)),
        "interval": median_interval(ratios),
        "spread": quartiles(ratios),
    }


def _arm(comparison: Comparison, arm: str, tasks: Iterable[str]) -> dict[str, Any]:
    of = comparison.measured.tasks
    return {
        **_over(comparison, arm, range(len(of))),
        "tasks": {task: _over(comparison, arm, [i for i, t in enumerate(of) if t == task]) for task in tasks},
    }


def _over(comparison: Comparison, arm: str, index: Sequence[int]) -> dict[str, Any]:
    """One arm over the prompts at `index`."""
    measured = comparison.measured
    outcomes = [measured.outcomes[arm][i] for i in index]
    bases = (PLAIN, GREEDY, PROMPT_LOOKUP, comparison.assisted(arm))
    spread: dict[str, list[float]] = {}
    interval: dict[str, list[float] | None] = {}
    medians: dict[str, float | None] = dict.fromkeys(RATIOS)
    for key, base in zip(RATIOS, bases, strict=True):
        if base is not None:
            ratios = measured.ratios(arm, base)
            medians[key] = rounded(median(ratios[i] for i in index))
            spread[key] = quartiles([ratios[i] for i in index])
            interval[key] = median_interval([ratios[i] for i in index])
    for key in ("draft_ms", "verify_ms"):
        times = [ms for outcome in outcomes for ms in getattr(outcome, key)]
        medians[key] = rounded(median(times)) if times else None
        if times:
            spread[key] = quartiles(times)
    at_risk = sum((o.at_risk for o in outcomes), Counter[int]())
    reached = sum((o.reached for o in outcomes), Counter[int]())
    rate = tokens_per_round(sum(len(o.tokens) for o in outcomes), sum(o.rounds for o in outcomes))
    ids = {measured.prompts[i].id for i in index}
    changed = [d for d in comparison.divergences if d["arm"] == arm and d["prompt"] in ids]
    return {
        **medians,
        "spread": spread,
        "interval": interval,
        "tokens_per_second": rounded(sum(len(o.tokens) for o in outcomes) / sum(o.seconds for o in outcomes)),
        "tokens_per_round": None if rate is None else rounded(rate),
        "acceptance": [rounded(hazard(reached[d], at_risk[d]) or 0.0) for d in sorted(at_risk)],
        "at_risk": [at_risk[d] for d in sorted(at_risk)],
        "identical_prompts": len(index) - len(changed),
    }
