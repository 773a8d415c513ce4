"""How often a report's intervals cover a truth that was planted, and how often its verdict is right.

    python -m tests.bench.report_coverage [--sessions 400] [--prompts 12]

Nominal coverage is 95 %; the last column is two standard errors of the simulation. Four tasks, chains of three nodes.
"""

from __future__ import annotations

import argparse
import math
from collections import Counter

from store.report.figures import GroupFigures
from store.report.report import Report, report_of
from tests.store.planted import planted

FLAT = dict.fromkeys(("code", "math", "logic", "chat"), 0.4)
TASKS = {"code": 0.52, "math": 0.28, "logic": 0.5, "chat": 0.3}


def covered(report: Report, truth: dict[str, float], icc: float) -> dict[str, bool]:
    """Figure -> whether its interval holds what was planted."""
    found: dict[str, bool] = {}
    for name, group in report.tasks.items():
        found[f"match, {name}"] = _holds(group.alpha["match"].ci, truth[name])
    assert report.overall is not None
    mean = math.fsum(truth.values()) / len(truth)
    found["match, all prompts"] = _holds(report.overall.alpha["match"].ci, mean)
    found["hazard at depth 1, all"] = _holds(_first(report.overall), mean)
    if icc:
        found["intra-class correlation"] = _holds(report.overall.icc_ci, icc)
    return found


def _first(group: GroupFigures) -> tuple[float, float] | None:
    return group.on_path[0].ci


def _holds(ci: tuple[float, float] | None, value: float) -> bool:
    return ci is not None and ci[0] <= value <= ci[1]


def main() -> None:
    """Print coverage and verdicts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sessions", type=int, default=400)
    parser.add_argument("--prompts", type=int, default=12)
    arguments = parser.parse_args()
    count = arguments.sessions
    for name, truth, icc in (
        ("no effect, independent nodes", FLAT, 0.0),
        ("no effect, prompts differ", FLAT, 0.1),
        ("tasks differ, independent nodes", TASKS, 0.0),
        ("tasks differ, prompts too", TASKS, 0.1),
    ):
        hits: Counter[str] = Counter()
        said: Counter[str] = Counter()
        for seed in range(count):
            data = planted(truth, prompts=arguments.prompts, rounds=20, icc=icc, seed=seed)
            report = report_of(data)
            for figure, yes in covered(report, truth, icc).items():
                hits[figure] += yes
            verdict = report.task_minus_depth
            said[str(verdict.verdict if verdict else None)] += 1
        print(f"{name} (icc {icc:g}), {count} sessions of {arguments.prompts} prompts a task")
        for figure, times in hits.items():
            share = times / count
            print(
                f"  {figure:<26}{share:6.1%}  ± {2 * math.sqrt(max(share * (1 - share), 1e-4) / count):.1%}"
            )
        print(
            "  verdict                   " + ", ".join(f"{k} {v / count:.1%}" for k, v in said.most_common())
        )


if __name__ == "__main__":
    main()
