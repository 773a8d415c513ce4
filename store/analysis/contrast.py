"""The difference of a figure between two sets of prompts: prompt by prompt where they are the same ones, else apart."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from spectui.store.analysis.counts import Ratio
from spectui.store.counts.intervals import EVERYWHERE, Pair, ends, linear
from spectui.store.reading.columns import Floats, Ints


@dataclass(frozen=True)
class Contrast:
    """A figure in two sessions. Intervals are 95 %; None is what cannot be known."""

    a: float | None
    ci_a: Pair | None
    b: float | None
    ci_b: Pair | None
    difference: float | None
    """b - a; None where the two are of different things."""
    ci: Pair | None
    """Of the difference."""
    comparable: bool = True
    """False where trees or sampling make the figure one of other nodes."""


@dataclass(frozen=True)
class Prompts:
    """The prompts of one side."""

    task: Ints
    """[n]"""
    weight: Floats
    """[n], what each counts, 1 on average."""


class Figure(NamedTuple):
    """A figure of one side, and what each of its prompts moves it by."""

    value: float | None
    moved: Floats
    """[n]; NaN where a prompt says nothing."""
    size: Floats | None = None
    """[n], what each counts in a ratio of sums."""


def mean_of(values: Floats, prompts: Prompts) -> Figure:
    """The weighted mean of `values` [n], NaN left out."""
    known = np.isfinite(values)
    weight = np.where(known, prompts.weight, 0.0)
    if not weight.sum() > 0:
        return Figure(None, np.full(len(values), np.nan))
    weight = weight / weight.sum()
    value = float(weight @ np.nan_to_num(values))
    return Figure(value, weight * (values - value))


def ratio_of(ratio: Ratio, prompts: Prompts) -> Figure:
    """The ratio of the weighted sums."""
    top, bottom = ratio.top * prompts.weight, ratio.bottom * prompts.weight
    if not bottom.sum() > 0:
        return Figure(None, np.full(len(top), np.nan))
    value = float(top.sum() / bottom.sum())
    return Figure(value, np.where(bottom > 0, (top - value * bottom) / bottom.sum(), np.nan), bottom)


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
            found = _error(Figure(difference, b.moved - a.moved, both), of_a)
        else:
            found = _together(_error(a, of_a), _error(b, of_b))
        ci = None if found is None else ends(difference, *found, EVERYWHERE)
    return Contrast(
        a.value, _own(a, of_a, within), b.value, _own(b, of_b, within), difference, ci, comparable
    )


def _own(figure: Figure, prompts: Prompts, within: Pair) -> Pair | None:
    error = _error(figure, prompts)
    return None if error is None or figure.value is None else ends(figure.value, *error, within)


def _error(figure: Figure, prompts: Prompts) -> tuple[float, float] | None:
    known = np.isfinite(figure.moved)
    size = None if figure.size is None else figure.size[known]
    return linear(figure.moved[known], prompts.task[known], size) if known.any() else None


def _together(a: tuple[float, float] | None, b: tuple[float, float] | None) -> tuple[float, float] | None:
    """Of two independent sides: Welch and Satterthwaite's degrees of freedom."""
    if a is None or b is None:
        return None
    (error_a, free_a), (error_b, free_b) = a, b
    variance = error_a**2 + error_b**2
    return math.sqrt(variance), variance**2 / (error_a**4 / free_a + error_b**4 / free_b)


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
    """Of one figure by task."""
    from scipy.special import stdtr

    tasks = [task for task, (figure, _) in figures.items() if figure.value is not None]
    found: list[tuple[str, str, float, Pair | None, float | None]] = []
    for place, first in enumerate(tasks):
        for second in tasks[place + 1 :]:
            (a, of_a), (b, of_b) = figures[first], figures[second]
            assert a.value is not None
            assert b.value is not None
            difference = b.value - a.value
            error = _together(_error(a, of_a), _error(b, of_b))
            ci = None if error is None else ends(difference, *error)
            p = None if error is None else float(2 * stdtr(error[1], -abs(difference) / error[0]))
            found.append((first, second, difference, ci, p))
    adjusted = holm([p for *_, p in found])
    return TaskContrasts(name, [TaskContrast(*row, each) for row, each in zip(found, adjusted, strict=True)])


def holm(ps: list[float | None]) -> list[float | None]:
    """Holm's step-down correction of as many p as are known."""
    order = sorted((p, place) for place, p in enumerate(ps) if p is not None)
    adjusted: list[float | None] = [None] * len(ps)
    highest = 0.0
    for passed, (p, place) in enumerate(order):
        highest = max(highest, min(p * (len(order) - passed), 1.0))
        adjusted[place] = highest
    return adjusted
