"""Bootstrap over prompts, and intervals from it, for figures without a standard error.

Nodes of one prompt are not independent; prompts are. Whole prompts are drawn with replacement within
their task, as weights [resamples, prompts], and every figure is computed from weighted sums of counts
per prompt: a resample costs a row of a matrix product, whatever the number of nodes.

scipy is imported where it is needed: screens that show reports start without it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from spectui.store.counts.intervals import EVERYWHERE, Pair, strata, student_t
from spectui.store.reading.columns import Floats, Ints

RESAMPLES = 2000
SEED = 20260414
"""Fixed, so that intervals change only when the data does."""

SHARE: Pair = (0.0, 1.0)
POSITIVE: Pair = (0.0, math.inf)
RHO: Pair = (-1.0, 1.0)

_FEWEST_BEYOND = 5
"""The least number of resamples beyond an end of an interval for that end to be known."""


@dataclass(frozen=True)
class Draws:
    """Resamples of prompts: how often each was drawn."""

    weights: Floats
    """[resamples, prompts]"""
    task: Ints
    """[prompts], from 0."""
    strata: int
    """Groups that prompts were drawn within: each has a mean of its own, which costs a degree of freedom."""

    def of_task(self, task: int) -> Draws:
        """The draws of one task's prompts, for figures of that task alone."""
        chosen = self.task == task
        return Draws(self.weights[:, chosen], self.task[chosen], 1)


def draw(task: Ints, *, resamples: int = RESAMPLES, seed: int = SEED) -> Draws:
    """Draw as many prompts from each task as it has; `task` [prompts] counts from 0."""
    rng = np.random.default_rng(seed)
    weights = np.zeros((resamples, len(task)))
    groups = strata(task)
    for members in groups:
        size = len(members)
        weights[:, members] = rng.multinomial(size, np.full(size, 1.0 / size), size=resamples)
    return Draws(weights, task, len(groups))


def interval(
    values: Floats, prompts: int, strata: int = 1, *, shift: float = 0.0, within: Pair = EVERYWHERE
) -> Pair | None:
    """95 % interval from resampled `values` [resamples]; NaN (a resample without data) is left out.

    Percentiles, widened for few prompts: a bootstrap of n prompts spreads too little by
    sqrt((n - 1) / n) and knows no Student's t, so its quantiles are taken further out (Hesterberg 2015,
    "What teachers should know about the bootstrap", the expanded percentile interval). Where that is
    further out than so many resamples of so few prompts reach, it is Student's t with their standard
    deviation. `shift` is taken from both ends, which then are cut to `within`. None with fewer prompts
    than strata + 1, when no resample has data, and when the few prompts there are happen to agree.
    """
    known = values[np.isfinite(values)]
    from scipy.special import ndtr

    freedom = prompts - strata
    if freedom < 1 or not len(known):
        return None
    out = deviations(prompts, freedom)
    tail = float(ndtr(-out))
    if tail * len(known) < _FEWEST_BEYOND:
        middle, spread = float(known.mean()), out * float(known.std())
        if spread < 1e-12:
            return None
        low, high = middle - spread, middle + spread
    else:
        low, high = (float(end) for end in np.quantile(known, [tail, 1 - tail]))
    low, high = np.clip([low - shift, high - shift], *within)
    return float(low), float(high)


def deviations(prompts: int, freedom: int) -> float:
    """Standard deviations of resamples from the middle of an interval to its ends; ``freedom >= 1``."""
    return math.sqrt(prompts / freedom) * student_t(freedom)


def ratios(top: Floats, bottom: Floats) -> Floats:
    """`top / bottom`, NaN where there is nothing below."""
    empty = np.full(np.broadcast_shapes(top.shape, bottom.shape), np.nan)
    quotients: Floats = np.divide(top, bottom, out=empty, where=bottom > 0)
    return quotients
