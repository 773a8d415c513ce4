"""Confidence intervals of means over prompts and of ratios of sums: the one place that computes them.

Nodes and rounds of one prompt are not independent; prompts are. A figure is linear in prompts, or nearly so: what each
prompt moves it by gives its standard error, and Student's t the ends, as few prompts tell little of how far prompts
are apart. Nothing is resampled, so that a screen can ask for it every few seconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spectui.store.counts.median import LEVEL
from spectui.store.counts.metrics import Interval

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Pair = tuple[float, float]
EVERYWHERE: Pair = (-math.inf, math.inf)


class Figure(NamedTuple):
    """A figure over prompts, and what each of them moves it by."""

    value: float | None
    moved: Floats
    """[prompts]; NaN where a prompt says nothing."""
    size: Floats | None = None
    """[prompts], what each counts in a ratio of sums."""


class Error(NamedTuple):
    """The standard error of a figure, and its degrees of freedom."""

    size: float
    freedom: float


def mean_of(values: Sequence[float] | Floats, weight: Floats | None = None) -> Figure:
    """The mean of `values` [prompts], NaN left out, weighted by `weight` [prompts]."""
    x = np.asarray(values, dtype=np.float64)
    known = np.isfinite(x)
    share = known.astype(np.float64) if weight is None else np.where(known, weight, 0.0)
    if not share.sum() > 0:
        return Figure(None, np.full(len(x), np.nan))
    share = share / share.sum()
    value = float(share @ np.nan_to_num(x))
    return Figure(value, share * (x - value))


def ratio_of(
    tops: Sequence[float] | Floats, bottoms: Sequence[float] | Floats, weight: Floats | None = None
) -> Figure:
    """``sum(tops) / sum(bottoms)``, both [prompts] and weighted; prompts whose bottom is 0 say nothing."""
    top, bottom = np.asarray(tops, dtype=np.float64), np.asarray(bottoms, dtype=np.float64)
    if weight is not None:
        top, bottom = top * weight, bottom * weight
    known = bottom > 0
    if not known.any():
        return Figure(None, np.full(len(top), np.nan))
    whole = float(bottom[known].sum())
    value = float(top[known].sum()) / whole
    return Figure(value, np.where(known, (top - value * bottom) / whole, np.nan), bottom)


def mean_interval(
    values: Sequence[float] | Floats, within: Pair = EVERYWHERE, stratum: Ints | None = None
) -> Interval | None:
    """The interval of `mean_of`, its ends cut to `within`; see `standard_error` for `stratum` and for None."""
    return interval_of(mean_of(values), within, stratum)


def ratio_interval(
    tops: Sequence[float] | Floats,
    bottoms: Sequence[float] | Floats,
    within: Pair = EVERYWHERE,
    stratum: Ints | None = None,
) -> Interval | None:
    """The interval of `ratio_of`, as `mean_interval` is that of a mean."""
    return interval_of(ratio_of(tops, bottoms), within, stratum)


def interval_of(figure: Figure, within: Pair = EVERYWHERE, stratum: Ints | None = None) -> Interval | None:
    """The interval of a figure, its ends cut to `within`; see `standard_error` for `stratum` and for None."""
    error = standard_error(figure, stratum)
    if error is None or figure.value is None:
        return None
    low, high = ends(figure.value, error, within)
    return Interval(figure.value, low, high, int(np.isfinite(figure.moved).sum()))


def pair(interval: Interval | None) -> Pair | None:
    """The ends of an interval."""
    return None if interval is None else (interval.low, interval.high)


def intervals_by_task(rows: Iterable[tuple[str, float, float, bool]], within: Pair) -> dict[str, Interval]:
    """Intervals of a ratio of sums, from the task, numerator, denominator of each prompt and whether it finished.

    Prompts that have not finished are left out, as a report does, if any of the session has.
    """
    prompts = list(rows)
    by_task: dict[str, list[tuple[float, float]]] = {}
    for task, top, bottom, _ in [row for row in prompts if row[3]] or prompts:
        by_task.setdefault(task, []).append((top, bottom))
    intervals: dict[str, Interval] = {}
    for task, pairs in by_task.items():
        tops, bottoms = zip(*pairs, strict=True)
        interval = ratio_interval(tops, bottoms, within)
        if interval is not None:
            intervals[task] = interval
    return intervals


def standard_error(figure: Figure, stratum: Ints | None = None) -> Error | None:
    """The standard error of a figure, by what each prompt moves it by.

    With `stratum` [prompts] prompts are those of several tasks, each with a mean of its own. Where prompts count by
    their size, a long one pulls the figure to itself: what it moves is what leaving it out would (the jackknife), and
    there are as many degrees of freedom as prompts of one size would have. None with fewer than two prompts of a
    stratum on average, and where the prompts happen to agree, which says nothing of others.
    """
    known = np.isfinite(figure.moved)
    moved = figure.moved[known]
    size = None if figure.size is None else figure.size[known]
    members = strata(np.zeros(len(moved), dtype=np.int64) if stratum is None else stratum[known])
    if len(moved) <= len(members):
        return None
    variance, freedom = 0.0, 0.0
    for each in members:
        part, count = moved[each], len(each)
        as_many = float(count)
        if size is not None and count > 1:
            share = size[each] / size[each].sum()
            part = part * (1 - 1 / count) / (1 - share)
            as_many = float(1 / (share**2).sum())
        variance += float(((part - part.mean()) ** 2).sum()) * count / max(count - 1, 1)
        freedom += as_many - 1
    size_of_error = math.sqrt(variance)
    return None if size_of_error < 1e-12 else Error(size_of_error, max(freedom, 1.0))


def strata(task: Ints) -> list[Ints]:
    """The prompts of each task. A prompt alone in its task would never vary, so such ones form a stratum together, a
    single one with the smallest task: "collapsed strata" of surveys, wider rather than too narrow.
    """
    groups = sorted((np.flatnonzero(task == each) for each in np.unique(task)), key=len)
    alone = [members for members in groups if len(members) == 1]
    merged = groups[: max(len(alone), 2)] if alone else []
    rest = groups[len(merged) :]
    return [np.concatenate(merged), *rest] if merged else rest


def ends(value: float, error: Error, within: Pair = EVERYWHERE) -> Pair:
    """The interval of a figure with this standard error, which can be nothing outside `within`.

    Between two bounds it is computed on the scale of log((x - low) / (high - x)), where it is symmetrical: shares of
    few prompts are skewed, the more so the nearer to a bound.
    """
    out = student_t(error.freedom) * error.size
    low, high = within
    if math.isinf(low) or math.isinf(high) or not low < value < high:
        return min(max(value - out, low), high), min(max(value + out, low), high)
    size = high - low
    middle = math.log((value - low) / (high - value))
    spread = out * size / ((value - low) * (high - value))
    first, last = (
        low + size / (1 + math.exp(min(-end, 700.0))) for end in (middle - spread, middle + spread)
    )
    return first, last


@lru_cache(maxsize=1024)
def student_t(freedom: float, level: float = LEVEL) -> float:
    """Standard errors from the middle of a two-sided interval to its ends; ``freedom >= 1``."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + level) / 2))
