"""Tables with permuted labels: a predictor whose labels mean nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from spectui.store.reading.columns import Floats, Ints

UNLIKE = 2.0
"""Factor of the mean variance of a task's prompts by chance over another's from which on they are unlike."""


def permuted_tasks(shares: Floats, task: Ints, count: int, rng: np.random.Generator) -> Floats:
    """[count, tasks, 2]: whole prompts dealt anew to the tasks, as many to each as it has.

    `shares` [prompts] is each prompt's share of matches, `task` [prompts] its task.
    """
    sizes = np.unique(task, return_counts=True)[1]
    dealt = rng.permuted(np.tile(shares, (count, 1)), axis=1)
    matches = np.add.reduceat(dealt, np.cumsum(sizes) - sizes, axis=1)
    return np.stack([sizes - matches, matches], axis=2)


def tasks_p(values: Floats, error: Floats, task: Ints, count: int, rng: np.random.Generator) -> float | None:
    """Share of ways to deal the tasks anew in which they differ as much as they do; NaN values are left out.

    `values` [prompts], how far each is off by the chance of its own rounds (`error`, a variance), and their `task`. By
    Welch's statistic, which tasks whose prompts vary more do not inflate. A task of few short prompts that happen to
    agree does; so where prompts of tasks are of unlike length, it is the larger of that share and the one by squares of
    tasks' means, of values in units of their own standard deviation. None with fewer than two tasks of two prompts.
    """
    known = np.isfinite(values)
    order = np.argsort(task[known], kind="stable")
    dealt, chance = values[known][order], np.maximum(error[known][order], 1e-12)
    sizes = np.unique(task[known], return_counts=True)[1]
    if len(sizes) < 2 or sizes.min() < 2:
        return None

    def share(of: Floats, statistic: Callable[[Floats, Ints], Floats]) -> float:
        null = statistic(rng.permuted(np.tile(of, (count, 1)), axis=1), sizes)
        (seen,) = statistic(of[None], sizes)
        return float((1 + np.sum(null >= seen * (1 - 1e-9))) / (1 + count))

    p = share(dealt, _welch)
    by_task = np.add.reduceat(chance, np.cumsum(sizes) - sizes) / sizes
    if by_task.max() < UNLIKE * by_task.min():
        return p
    spread = _between(dealt, chance, sizes) + chance
    alike = (dealt - np.average(dealt, weights=1 / spread)) / np.sqrt(spread)
    return max(p, share(alike, _squares))


def _between(values: Floats, chance: Floats, sizes: Ints) -> float:
    """Variance of the prompts of a task beyond their `chance`, by the method of moments (DerSimonian and Laird)."""
    start, weight = np.cumsum(sizes) - sizes, 1 / chance
    whole = np.add.reduceat(weight, start)
    middle = np.repeat(np.add.reduceat(weight * values, start) / whole, sizes)
    spread = float((weight * (values - middle) ** 2).sum())
    free = float((whole - np.add.reduceat(weight**2, start) / whole).sum())
    return max((spread - (len(values) - len(sizes))) / free, 0.0)


def _squares(values: Floats, sizes: Ints) -> Floats:
    """[rows], sum over groups of size times squared mean, of values [rows, prompts], group after group."""
    start = np.cumsum(sizes) - sizes
    return np.asarray((np.add.reduceat(values, start, axis=1) ** 2 / sizes).sum(axis=1), dtype=np.float64)


def _welch(values: Floats, sizes: Ints) -> Floats:
    """[rows], Welch's statistic of values [rows, prompts], group after group."""
    start = np.cumsum(sizes) - sizes
    mean = np.add.reduceat(values, start, axis=1) / sizes
    square = np.add.reduceat(values**2, start, axis=1) / sizes
    least = 1e-9 * float(values.var()) + 1e-300
    variance = np.maximum(square - mean**2, least) * sizes / (sizes - 1)
    weight = sizes / variance
    middle = (weight * mean).sum(axis=1, keepdims=True) / weight.sum(axis=1, keepdims=True)
    return np.asarray((weight * (mean - middle) ** 2).sum(axis=1), dtype=np.float64)


class Units(NamedTuple):
    """Units, of `width` nodes each, in groups that labels are shuffled within."""

    counts: Floats
    """[groups, labels]: units of each label."""
    matches: Floats
    """[groups]: units with a node that matches."""
    width: Floats
    """[groups]"""
    prompt: Ints
    """[groups]"""


def permuted_labels(units: Units, weight: Floats, count: int, rng: np.random.Generator) -> Floats | None:
    """[count, labels, 2]: labels shuffled among the units of each group; None when no group has two labels.

    `weight` [groups] is what each node counts. In a shuffled group the matches of each label are hypergeometric, and
    a table is their weighted sum over all groups: its mean and covariance are exact, and with many groups it is
    normal (Hajek 1960), so tables are drawn from that and nothing is ever shuffled.
    """
    size, matches = units.counts.sum(axis=1), units.matches
    share = np.divide(units.counts, size[:, None], out=np.zeros_like(units.counts), where=size[:, None] > 0)
    spread = (
        weight**2
        * matches
        * (size - matches)
        * np.divide(size, size - 1, out=np.zeros_like(size), where=size > 1)
        / np.maximum(size, 1)
    )
    # Of N units, n_x of a label and m that match: m (N - m) / (N - 1) (n_x / N [x = y] - n_x n_y / N^2).
    scaled = share * spread[:, None]
    covariance = np.diag(scaled.sum(axis=0)) - share.T @ scaled
    if not np.any(np.diag(covariance) > 1e-15):
        return None
    mean = (weight * matches) @ share
    total = (weight * units.width) @ units.counts
    values, vectors = np.linalg.eigh(covariance)
    noise = rng.standard_normal((count, len(mean))) * np.sqrt(np.maximum(values, 0.0)) @ vectors.T
    drawn = np.clip(mean + noise, 0.0, total)
    return np.stack([total - drawn, drawn], axis=2)
