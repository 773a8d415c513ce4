"""The difference of a figure between two sets of prompts: prompt by prompt where they are the same ones, else apart."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from spectui.store.counts.intervals import Error, Figure, Pair, ends, interval_of, pair, standard_error
from spectui.store.reading.columns import Floats, Ints


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
    a: Figure, b: Figure, of_a: Prompts, of_b: Prompts, within: Pair, *, paired: bool, comparable: bool = True
) -> Contrast:
    """The difference of two figures; where `paired` the n-th prompts are the same."""
    difference, ci = None, None
    if comparable and a.value is not None and b.value is not None:
        difference = b.value - a.value
        if paired:
            both = None if a.size is None or b.size is None else a.size + b.size
            error = standard_error(Figure(difference, b.moved - a.moved, both), of_a.task)
        else:
            error = _together(standard_error(a, of_a.task), standard_error(b, of_b.task))
        ci = None if error is None else ends(difference, error)
    ci_a, ci_b = (pair(interval_of(figure, within, of.task)) for figure, of in ((a, of_a), (b, of_b)))
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
