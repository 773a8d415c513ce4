"""Confidence intervals of means over prompts and of ratios of sums: the one place that works them out.

Nodes and rounds of one prompt are not independent; prompts are. A figure is linear in prompts, or nearly so: what each
prompt moves it by gives its standard error, and Student's t the ends, as few prompts tell little of how far prompts
are apart. Nothing is resampled, so that a screen can ask for it every few seconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from spectui.store.counts.metrics import Interval

RESAMPLES = 2000
LEVEL = 0.95
SEED = 20260414
"""Fixed, so that what is resampled moves only when the data does."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Pair = tuple[float, float]
EVERYWHERE: Pair = (-math.inf, math.inf)


def mean_interval(
    values: Sequence[float] | Floats, within: Pair = EVERYWHERE, stratum: Ints | None = None
) -> Interval | None:
    """Of the mean of `values` [prompts], NaN left out, its ends cut to `within`; see `linear` for None.

    With `stratum` [prompts] prompts are those of several tasks, each with a mean of its own.
    """
    x = np.asarray(values, dtype=np.float64)
    known = np.isfinite(x)
    x = x[known]
    if not len(x):
        return None
    mean = float(x.mean())
    return _around(
        mean, linear((x - mean) / len(x), None if stratum is None else stratum[known]), len(x), within
    )


def ratio_interval(
    numerators: Sequence[float] | Floats,
    denominators: Sequence[float] | Floats,
    within: Pair = EVERYWHERE,
    stratum: Ints | None = None,
) -> Interval | None:
    """Of ``sum(numerators) / sum(denominators)``, both [prompts]; prompts whose denominator is 0 say nothing."""
    top, bottom = np.asarray(numerators, dtype=np.float64), np.asarray(denominators, dtype=np.float64)
    known = bottom > 0
    top, bottom = top[known], bottom[known]
    if not len(top):
        return None
    value = float(top.sum() / bottom.sum())
    moved = (top - value * bottom) / bottom.sum()
    found = linear(moved, None if stratum is None else stratum[known], bottom)
    return _around(value, found, len(top), within)


def intervals_by_task(rows: Iterable[tuple[str, float, float, bool]], within: Pair) -> dict[str, Interval]:
    """Of a ratio of sums, from (task, numerator, denominator, whether it finished) of each prompt.

    Prompts that have not finished are left out, as a report does, if any of the session has.
    """
    known = list(rows)
    finished = [row for row in known if row[3]]
    by_task: dict[str, list[tuple[float, float]]] = {}
    for task, top, bottom, _ in finished or known:
        by_task.setdefault(task, []).append((top, bottom))
    found = {
        task: ratio_interval([top for top, _ in pairs], [bottom for _, bottom in pairs], within)
        for task, pairs in by_task.items()
    }
    return {task: each for task, each in found.items() if each is not None}


def linear(
    moved: Floats, stratum: Ints | None = None, size: Floats | None = None
) -> tuple[float, float] | None:
    """Standard error and degrees of freedom of a figure that each prompt moves by `moved` [prompts].

    Where prompts count by their `size` [prompts], a long one pulls the figure to itself: what it moves is what leaving
    it out would (the jackknife), and there are as many degrees of freedom as prompts of one size would have. None with
    fewer than two prompts of a stratum on average, and where the prompts happen to agree, which says nothing of others.
    """
    members = strata(np.zeros(len(moved), dtype=np.int64) if stratum is None else stratum)
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
    error = math.sqrt(variance)
    return None if error < 1e-12 else (error, max(freedom, 1.0))


def strata(task: Ints) -> list[Ints]:
    """The prompts of each task. A prompt alone in its task would never vary, so such ones form a stratum together, a
    single one with the smallest task: "collapsed strata" of surveys, wider rather than too narrow.
    """
    groups = sorted((np.flatnonzero(task == each) for each in np.unique(task)), key=len)
    alone = [members for members in groups if len(members) == 1]
    merged = groups[: max(len(alone), 2)] if alone else []
    rest = groups[len(merged) :]
    return [np.concatenate(merged), *rest] if merged else rest


def ends(value: float, error: float, freedom: float, within: Pair = EVERYWHERE) -> Pair:
    """The interval of a figure with this standard error, which can be nothing outside `within`.

    Between two bounds it is worked out on the scale of log((x - low) / (high - x)), where it is symmetrical: shares of
    few prompts are skewed, the more so the nearer to a bound.
    """
    out = student_t(freedom) * error
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


def _around(value: float, found: tuple[float, float] | None, prompts: int, within: Pair) -> Interval | None:
    if found is None:
        return None
    low, high = ends(value, *found, within)
    return Interval(value, low, high, prompts)
