"""The comparison of a sweep's sessions: a sentence for each task, the best of each, and all of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spectui.tui.report.grid import Cell, Column, Grid, grid

if TYPE_CHECKING:
    from spectui.store.sweeps.compare import Candidate, Contest, SweepComparison

FRONT = "front"


def sweep_sentences(comparison: SweepComparison) -> Iterator[str]:
    """The progress of the sweep, and the fastest of each task with those that are not told apart from it."""
    yield comparison.sweep.words
    for contest in comparison.contests:
        best = contest.best
        speed = (
            f"{best.speedup:.2f} times plain decoding{_range(best.speedup_ci)}"
            if contest.over_plain and best.speedup is not None
            else f"{best.tokens_per_second or 0.0:,.1f} tok/s"
        )
        others = len(contest.candidates) - 1
        alike = [_pair(each) for each in contest.alike]
        rest = (
            ""
            if not others
            else f"; {'the other is' if others == 1 else f'the {others} others are'} slower by evidence"
            if not alike
            else f"; not told apart from it: {', '.join(alike)}"
        )
        yield f"{_where(comparison, contest)}: {_pair(best)} is the fastest, {speed}{rest}"


def sweep_tables(comparison: SweepComparison) -> list[Grid]:
    """The best of each task, then all candidates; no table before the first prompt."""
    contests = comparison.contests
    if not contests:
        return []
    several_devices = len({contest.device for contest in contests}) > 1
    several_temperatures = len({contest.temperature for contest in contests}) > 1
    place = [
        Column("task", "task", "text"),
        Column("temperature", "temp", "text"),
        Column("device", "device", "text"),
    ]

    def where(contest: Contest) -> list[Cell]:
        return [
            contest.task,
            f"{contest.temperature:g}" if several_temperatures else None,
            contest.device if several_devices else None,
        ]

    best = [
        [
            *where(contest),
            _drafter(contest.best),
            contest.best.session.tree,
            contest.best.speedup,
            contest.best.speedup_ci,
            contest.best.tokens_per_round,
            len(contest.candidates),
            len(contest.alike),
        ]
        for contest in contests
    ]
    every = [
        [
            *where(contest),
            _drafter(each),
            each.session.tree,
            each.prompts,
            each.tokens_per_round,
            each.tokens_per_round_ci,
            each.tokens_per_second,
            each.speedup,
            each.speedup_ci,
            1.0 if each.best else each.over_best,
            each.over_best_ci,
            "best" if each.best else "slower" if each.told_apart else "alike",
            FRONT if each.front else "",
        ]
        for contest in contests
        for each in contest.candidates
    ]
    return [
        grid(
            "best",
            "Best drafter and tree by task",
            [
                *place,
                Column("drafter", "drafter", "text"),
                Column("tree", "tree", "text"),
                Column("speedup", "x plain", digits=2),
                Column("speedup_ci", "95 %", "interval", digits=2),
                Column("tokens_per_round", "tok/round", digits=2),
                Column("candidates", "of", "count"),
                Column("alike", "alike", "count"),
            ],
            best,
            "alike: others whose interval of speed over the best's includes 1.",
        ),
        grid(
            "candidates",
            "All sessions, the fastest of each task first",
            [
                *place,
                Column("drafter", "drafter", "text"),
                Column("tree", "tree", "text"),
                Column("prompts", "prompts", "count"),
                Column("tokens_per_round", "tok/round", digits=2),
                Column("tokens_per_round_ci", "95 %", "interval", digits=2),
                Column("tokens_per_second", "tok/s", digits=1),
                Column("speedup", "x plain", digits=2),
                Column("speedup_ci", "95 %", "interval", digits=2),
                Column("over_best", "x best", digits=2),
                Column("over_best_ci", "95 %", "interval", digits=2),
                Column("verdict", "verdict", "text"),
                Column("front", "Pareto", "text"),
            ],
            every,
            "x best: speed over the best's, prompt by prompt on the same prompts; where x plain is known of all, less"
            " the pace of the machine during each session, whose uncertainty is in the interval. Pareto: no other"
            " session of the task is as fast and emits as many tokens per round, and more of one.",
        ),
    ]


def sweep_json(comparison: SweepComparison) -> dict[str, Any]:
    """The object that `spectui compare --sweep --json` prints."""
    sweep = comparison.sweep
    return {
        "sweep": sweep.name,
        "sessions": len(sweep.cells),
        "done": len(sweep.done),
        "contests": [
            {
                "task": contest.task,
                "temperature": contest.temperature,
                "device": contest.device,
                "compared_by": "speedup" if contest.over_plain else "tokens_per_second",
                "candidates": [_candidate_json(each) for each in contest.candidates],
            }
            for contest in comparison.contests
        ],
        "notes": comparison.notes,
    }


def _candidate_json(candidate: Candidate) -> dict[str, Any]:
    values = {key: value for key, value in asdict(candidate).items() if key not in ("cell", "session")}
    return {
        "session": candidate.session.id,
        "drafter": candidate.cell.draft,
        "tree": candidate.session.tree,
        **{key: list(value) if isinstance(value, tuple) else value for key, value in values.items()},
        "told_apart": candidate.told_apart,
    }


def _where(comparison: SweepComparison, contest: Contest) -> str:
    words = contest.task
    if len({each.temperature for each in comparison.contests}) > 1:
        words += f" at temperature {contest.temperature:g}"
    return (
        words if len({each.device for each in comparison.contests}) == 1 else f"{words} on {contest.device}"
    )


def _drafter(candidate: Candidate) -> str:
    """The drafter's name as the sweep has it; of a path its last part."""
    return Path(candidate.cell.draft).name


def _pair(candidate: Candidate) -> str:
    return f"{_drafter(candidate)} with {candidate.session.tree}"


def _range(ci: tuple[float, float] | None) -> str:
    return "" if ci is None else f" ({ci[0]:.2f} to {ci[1]:.2f})"
