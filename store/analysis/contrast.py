"""The difference of a figure between two sets of prompts: prompt by prompt where they are the same ones, else apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from spectui.store.analysis.counts import Counts, Ratio
from spectui.store.analysis.nulls import tasks_p
from spectui.store.analysis.resampling import RESAMPLES, SEED
from spectui.store.counts.intervals import Error, Figure, Pair, ends, interval_of, pair, standard_error
from spectui.store.reading.columns import Floats, Ints
from spectui.store.reading.replicas import ReplicaRow

FEWEST_OF_REPLICA = 2
"""Prompts of a replica from which on it takes part in the test of replicas."""


@dataclass(frozen=True)
class Contrast:
    """A figure in two sessions. Intervals are 95 %; None stands for unknown."""

    a: float | None
    ci_a: Pair | None
    b: float | None
    ci_b: Pair | None
    difference: float | None
    """b - a; None where the two are of different things."""
    ci: Pair | None
    """The interval of the difference."""
    comparable: bool = True
    """False where trees or sampling make the figure one of other nodes."""


@dataclass(frozen=True)
class Prompts:
    """The prompts of one side."""

    task: Ints
    """[n]"""
    weight: Floats
    """[n], what each counts, 1 on average."""


def scaled(figure: Figure, value: float | None, slope: float) -> Figure:
    """A smooth function of a figure, that is `value` there and rises by `slope`."""
    return Figure(value, figure.moved * slope)


def contrast(
    a: Figure,
    b: Figure,
    of_a: Prompts,
    of_b: Prompts,
    within: tuple[Pair, Pair],
    *,
    paired: bool,
    comparable: bool = True,
) -> Contrast:
    """The difference of two figures; where `paired` the n-th prompts are the same.

    `within`: the possible values of each, as trees of one may be deeper than those of the other.
    """
    difference, ci = None, None
    if comparable and a.value is not None and b.value is not None:
        difference = b.value - a.value
        if paired:
            both = None if a.size is None or b.size is None else a.size + b.size
            error = standard_error(Figure(difference, b.moved - a.moved, both), of_a.task)
        else:
            error = _together(standard_error(a, of_a.task), standard_error(b, of_b.task))
        ci = None if error is None else ends(difference, error)
    ci_a, ci_b = (
        pair(interval_of(figure, its_range, of.task))
        for figure, its_range, of in zip((a, b), within, (of_a, of_b), strict=True)
    )
    return Contrast(a.value, ci_a, b.value, ci_b, difference, ci, comparable)


def _together(a: Error | None, b: Error | None) -> Error | None:
    """The error of a difference of two independent sides: Welch and Satterthwaite's degrees of freedom."""
    if a is None or b is None:
        return None
    variance = a.size**2 + b.size**2
    return Error(math.sqrt(variance), variance**2 / (a.size**4 / a.freedom + b.size**4 / b.freedom))


@dataclass(frozen=True)
class TaskContrast:
    """A task's tokens per round or acceptance less that of another."""

    first: str
    second: str
    difference: float
    """second - first."""
    ci: Pair | None
    """95 %, of this difference alone."""
    p: float | None
    """Chance of one as large where there is none, of this difference alone."""
    holm: float | None
    """The same by Holm's correction: of any of all these differences."""


@dataclass(frozen=True)
class TaskContrasts:
    """Each task less each other, of one figure."""

    figure: str
    pairs: list[TaskContrast] = field(default_factory=list)


def task_contrasts(name: str, figures: dict[str, tuple[Figure, Prompts]]) -> TaskContrasts:
    """The contrasts of one figure between tasks."""
    from scipy.special import stdtr

    tasks = [task for task, (figure, _) in figures.items() if figure.value is not None]
    rows: list[tuple[str, str, float, Pair | None, float | None]] = []
    for place, first in enumerate(tasks):
        for second in tasks[place + 1 :]:
            (a, of_a), (b, of_b) = figures[first], figures[second]
            assert a.value is not None
            assert b.value is not None
            difference = b.value - a.value
            error = _together(standard_error(a, of_a.task), standard_error(b, of_b.task))
            ci = None if error is None else ends(difference, error)
            p = None if error is None else float(2 * stdtr(error.freedom, -abs(difference) / error.size))
            rows.append((first, second, difference, ci, p))
    adjusted = holm([p for *_, p in rows])
    return TaskContrasts(name, [TaskContrast(*row, each) for row, each in zip(rows, adjusted, strict=True)])


def holm(ps: list[float | None]) -> list[float | None]:
    """Holm's step-down correction of as many p as are known."""
    order = sorted((p, place) for place, p in enumerate(ps) if p is not None)
    adjusted: list[float | None] = [None] * len(ps)
    highest = 0.0
    for passed, (p, place) in enumerate(order):
        highest = max(highest, min(p * (len(order) - passed), 1.0))
        adjusted[place] = highest
    return adjusted


@dataclass(frozen=True)
class ReplicaPart:
    """The prompts that one replica decoded."""

    number: int
    """0: the session's own worker."""
    name: str
    """``node-7 cuda:0``."""
    prompts: int
    match_rate: float | None
    accepted_length: float | None
    """Means over prompts."""


@dataclass(frozen=True)
class ReplicaFactor:
    """Each replica's part, and the chance that parts differ as much where the replica means nothing.

    Prompts are dealt anew to the replicas, as many to each as it had, after the mean of its task is taken off each: who
    is free takes the next prompt, so that replicas may have had tasks in unlike shares.
    """

    parts: tuple[ReplicaPart, ...]
    match_p: float | None
    """None with fewer than two replicas of two prompts."""
    length_p: float | None


def replica_factor(counts: Counts, replicas: Sequence[ReplicaRow]) -> ReplicaFactor | None:
    """The factor of a session that several replicas decoded; None of any other."""
    owners = [prompt.replica_id or 0 for prompt in counts.data.prompts]
    if len(set(owners)) < 2:
        return None
    rows = {row.id: row for row in replicas}
    codes = np.array(owners, dtype=np.int64)
    match, length = counts.alphas["match"], counts.lengths["accepted_length"]
    parts = [_replica_part(rows.get(owner), codes == owner, match, length) for owner in sorted(set(owners))]
    return ReplicaFactor(
        tuple(parts),
        _replica_p(match, _match_error(match), counts.task, codes),
        _replica_p(length, _length_error(counts), counts.task, codes),
    )


def _replica_part(row: ReplicaRow | None, chosen: np.ndarray, match: Ratio, length: Ratio) -> ReplicaPart:
    name = "the session's worker" if row is None else f"{row.host} {row.device}".strip()
    means = [_mean(each.per_prompt[chosen]) for each in (match, length)]
    return ReplicaPart(0 if row is None else row.number, name, int(chosen.sum()), *means)


def _mean(values: Floats) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None


def _match_error(match: Ratio) -> Floats:
    whole = match.figure().value
    share = whole if whole is not None and np.isfinite(whole) else 0.5
    return np.asarray(share * (1 - share) / np.maximum(match.bottom, 1.0), dtype=np.float64)


def _length_error(counts: Counts) -> Floats:
    lengths = counts.data.accepted_length.astype(np.float64)
    spread = float(lengths.var()) if len(lengths) else 0.0
    return np.asarray(spread / np.maximum(counts.rounds, 1.0), dtype=np.float64)


def _replica_p(ratio: Ratio, error: Floats, task: Ints, owner: Ints) -> float | None:
    values = ratio.per_prompt.copy()
    for each in np.unique(task):
        of_task = task == each
        known = values[of_task & np.isfinite(values)]
        values[of_task] -= known.mean() if len(known) else 0.0
    taken = np.isin(
        owner,
        [each for each in np.unique(owner) if _known_prompts(values, owner == each) >= FEWEST_OF_REPLICA],
    )
    if len(np.unique(owner[taken])) < 2:
        return None
    return tasks_p(values[taken], error[taken], owner[taken], RESAMPLES, np.random.default_rng(SEED + 1))


def _known_prompts(values: Floats, chosen: np.ndarray) -> int:
    return int(np.isfinite(values[chosen]).sum())
