"""Counts how often intervals hold a planted truth, and how often a verdict is wrong.

    python -m tests.bench.report_coverage [--sessions 400] [--only coverage,verdict,advice,speedup]

Nominal coverage is 95 %; in brackets stands the exact 95 % interval of the simulation. Four tasks.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator

import numpy as np
from scipy.stats import beta

from spectui.decoding.trees.advise.advice import one_tree_serves, tree_per_task_pays
from spectui.store.analysis.counts import Counts, Ratio
from spectui.store.analysis.verdict import judge
from spectui.store.counts.intervals import mean_interval, ratio_interval
from spectui.store.counts.metrics import Interval
from tests.decoding.trees.test_advice_truth import gained
from tests.decoding.worker.disturbed import speedups
from tests.store.analysis.planted_trees import CHAIN, FULL, UNEVEN, Truth, alike, planted_trees

HAZARD = (0.62, 0.58, 0.58)
SKEWED = (8, 12, 14, 20, 26, 35, 60, 90)
"""Rounds of prompts, most short and some long."""


def coverage(sessions: int) -> Iterator[tuple[str, str, str]]:
    """Design, figure, share: of every kind of interval in a report."""
    for prompts in (2, 3, 5, 10, 50):
        for icc in (0.0, 0.05, 0.2):
            rounds = SKEWED if icc == 0.05 else 25
            tasks = alike(Truth(HAZARD, off_path=0.8, prompts=prompts, rounds=rounds))
            true = _truth(icc, rounds)
            hits: dict[str, list[float]] = defaultdict(list)
            for seed in range(sessions if prompts < 50 else max(sessions // 4, 1)):
                counts = Counts(planted_trees(tasks, icc=icc, seed=seed))
                for name, index in (("a task", 0), ("all", None)):
                    for figure, ci in _intervals(counts, index).items():
                        if ci is not None:
                            hits[f"{figure}, {name}"].append(ci.low <= true[figure] <= ci.high)
                        else:
                            hits[f"{figure}, {name}, refused"].append(1.0)
            design = f"{prompts} prompts a task, icc {icc:g}{', lengths skewed' if icc == 0.05 else ''}"
            for figure, holds in sorted(hits.items()):
                yield design, figure, _share(holds) if "refused" not in figure else str(len(holds))


def _intervals(counts: Counts, task: int | None) -> dict[str, Interval | None]:
    """The intervals of `store.analysis.figures`."""
    chosen = np.ones(counts.prompts, np.bool_) if task is None else counts.task == task
    of = counts.task[chosen]

    def over_rounds(ratio: Ratio, high: float) -> Interval | None:
        some = ratio.select(chosen)
        return ratio_interval(some.top, some.bottom, (0.0, high), of)

    return {
        "match": mean_interval(counts.alphas["match"].select(chosen).per_prompt, (0.0, 1.0), of),
        "at risk": mean_interval(counts.alphas["at_risk"].select(chosen).per_prompt, (0.0, 1.0), of),
        "accepted length": over_rounds(counts.lengths["accepted_length"], 3.0),
        "hazard 3": over_rounds(counts.on_path[2], 1.0) if len(counts.on_path) > 2 else None,
        "survival 3": over_rounds(counts.reached[2], 1.0) if len(counts.reached) > 2 else None,
    }


def _truth(icc: float, rounds: int | tuple[int, ...]) -> dict[str, float]:
    """The true figures: those of a session of very many prompts."""
    tasks = {"all": Truth(HAZARD, off_path=0.8, prompts=30_000, rounds=rounds)}
    counts = Counts(planted_trees(tasks, icc=icc, seed=10**6))
    at_3, reached = counts.on_path[2], counts.reached[2]
    return {
        "match": float(np.nanmean(counts.alphas["match"].per_prompt)),
        "at risk": float(np.nanmean(counts.alphas["at_risk"].per_prompt)),
        "accepted length": float(counts.lengths["accepted_length"].top.sum() / counts.rounds.sum()),
        "hazard 3": float(at_3.top.sum() / at_3.bottom.sum()),
        "survival 3": float(reached.top.sum() / reached.bottom.sum()),
    }


def published(icc: float) -> tuple[dict[str, Truth], float]:
    """The published acceptance, 50 prompts of each task."""
    chances = {"chat": 0.565, "code": 0.5415, "logic": 0.5415, "math": 0.518}
    return {name: Truth((h,) * 3, tree=CHAIN, prompts=50, rounds=35) for name, h in chances.items()}, icc


DESIGNS: dict[str, tuple[dict[str, Truth], float]] = {
    "prompts differ (icc .1), chains": (alike(Truth((0.4,) * 3, tree=CHAIN, prompts=50, rounds=30)), 0.1),
    "prompts differ much (icc .2), chains": (
        alike(Truth((0.4,) * 3, tree=CHAIN, prompts=12, rounds=30)),
        0.2,
    ),
    "constant hazard, 20 % lower off the path": (alike(Truth((0.6,) * 3, off_path=0.8, prompts=50)), 0.05),
    "the same, 12 prompts a task": (alike(Truth((0.6,) * 3, off_path=0.8, prompts=12)), 0.1),
    "families of other sizes": (alike(Truth((0.6, 0.42, 0.42), tree=UNEVEN, off_path=0.8, prompts=20)), 0.05),
    "prompts of 5 to 40 rounds": (alike(Truth((0.6,) * 3, off_path=0.8, rounds=(5, 40, 20))), 0.1),
    "one task of 4 prompts of 4 rounds": (
        {
            "rare": Truth((0.4,) * 3, tree=CHAIN, prompts=4, rounds=4),
            **alike(Truth((0.4,) * 3, tree=CHAIN, prompts=20, rounds=60), ("math", "logic", "chat")),
        },
        0.05,
    ),
    "three prompts a task": (alike(Truth((0.4,) * 3, tree=CHAIN, prompts=3, rounds=30)), 0.05),
    "one task with another tree": (
        {"code": Truth((0.6,) * 3, tree=CHAIN), **alike(Truth((0.6,) * 3, tree=FULL), ("math", "chat"))},
        0.0,
    ),
    "as published, icc 0": published(0.0),
    "as published, icc .02": published(0.02),
    "as published, icc .05": published(0.05),
    "as published, icc .1": published(0.1),
    "depth matters (.15)": (alike(Truth((0.65, 0.5, 0.35), tree=CHAIN)), 0.02),
}


def verdicts(sessions: int) -> Iterator[tuple[str, str, str]]:
    """Design, what is said, share."""
    for name, (tasks, icc) in DESIGNS.items():
        counts: Counter[str] = Counter()
        small: Counter[str] = Counter()
        for seed in range(sessions):
            judgement = judge(Counts(planted_trees(tasks, icc=icc, seed=seed)))
            counts[judgement.verdict or "refused"] += 1
            first = judgement.by_nodes.get("at_risk")
            if first is not None:
                small["p of task below .05"] += (first.task_p or 1.0) < 0.05
                small["p of depth below .05"] += (first.depth_p or 1.0) < 0.05
        for what in ("supported", "reversed", "refused"):
            if counts[what] or what != "refused":
                yield name, what, _share([1.0] * counts[what] + [0.0] * (sessions - counts[what]))
        if "refused" not in counts:
            for what, count in small.items():
                yield name, what, _share([1.0] * count + [0.0] * (sessions - count))


def advice(sessions: int) -> Iterator[tuple[str, str, str]]:
    """Prompts and what a tree per task really gains, what is said, share."""
    for prompts in (2, 3, 5, 10, 25):
        for gain in (1.0, 1.01, 1.03, 1.08):
            gains = [gained(prompts, gain, seed) for seed in range(sessions)]
            design = f"{prompts} prompts a task, own tree {gain:g} times as fast"
            yield design, "pays", _share([float(tree_per_task_pays(each)) for each in gains])
            yield design, "one serves as well", _share([float(one_tree_serves(each)) for each in gains])


def _share(shares: list[float]) -> str:
    """The share, and its exact 95 % interval (Clopper and Pearson)."""
    count, hits = len(shares), round(sum(shares))
    low = beta.ppf(0.025, hits, count - hits + 1) if hits else 0.0
    high = beta.ppf(0.975, hits + 1, count - hits) if hits < count else 1.0
    return f"{hits / count:6.1%} [{low:.1%}, {high:.1%}]"


PARTS: dict[str, Callable[[int], Iterator[tuple[str, str, str]]]] = {
    "coverage": coverage,
    "verdict": verdicts,
    "advice": advice,
    "speedup": lambda sessions: speedups(sessions, _share),
}


def main() -> None:
    """Print coverage, verdicts and advice."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sessions", type=int, default=400)
    parser.add_argument("--only", default=",".join(PARTS))
    arguments = parser.parse_args()
    for part in arguments.only.split(","):
        before = ""
        for design, what, share in PARTS[part](arguments.sessions):
            if design != before:
                print(design)
            before = design
            print(f"  {what:<30}{share}", flush=True)


if __name__ == "__main__":
    main()
