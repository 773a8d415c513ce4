"""Drawing prompts anew, and intervals from what comes out.

Nodes of one prompt are not independent; prompts are. Whole prompts are drawn with replacement within
their task, as weights [resamples, prompts], and every figure is worked out from weighted sums of counts
per prompt: a resample costs a row of a matrix product, whatever the number of nodes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, stdtrit

from store.intervals import LEVEL, RESAMPLES, SEED
from store.report.read import Floats, Ints

Pair = tuple[float, float]


@dataclass(frozen=True)
class Draws:
    """How often each prompt was drawn, and from how much data."""

    weights: Floats
    """[resamples, prompts]"""
    stratum: Ints
    """[prompts], from 0: the task of each prompt."""

    def of(self, stratum: int) -> Draws:
        """The draws of one task's prompts, for figures of that task alone."""
        chosen = self.stratum == stratum
        return Draws(self.weights[:, chosen], np.zeros(int(chosen.sum()), dtype=np.int64))


def draw(stratum: Ints, *, resamples: int = RESAMPLES, seed: int = SEED) -> Draws:
    """Draw as many prompts from each stratum as it has; `stratum` [prompts] counts from 0."""
    rng = np.random.default_rng(seed)
    weights = np.zeros((resamples, len(stratum)))
    for each in np.unique(stratum):
        members = np.flatnonzero(stratum == each)
        size = len(members)
        weights[:, members] = rng.multinomial(size, np.full(size, 1.0 / size), size=resamples)
    return Draws(weights, stratum)


def interval(values: Floats, prompts: int, strata: int = 1, shift: float = 0.0) -> Pair | None:
    """95 % interval from resampled `values` [resamples]; NaN (a resample without data) is left out.

    Percentiles, widened for few prompts: a bootstrap of n prompts spreads too little by
    sqrt((n - 1) / n) and knows no Student's t, so its quantiles are taken further out (Hesterberg 2015,
    "What teachers should know about the bootstrap", the expanded percentile interval). `shift` is taken
    from both ends. None with fewer prompts than strata + 1, or when no resample has data.
    """
    known = values[np.isfinite(values)]
    freedom = prompts - strata
    if freedom < 1 or not len(known):
        return None
    tail = float(ndtr(np.sqrt(prompts / freedom) * stdtrit(freedom, (1 - LEVEL) / 2)))
    low, high = np.quantile(known, [tail, 1 - tail]) - shift
    return float(low), float(high)


def ratios(top: Floats, bottom: Floats) -> Floats:
    """`top / bottom`, NaN where there is nothing below."""
    empty = np.full(np.broadcast_shapes(top.shape, bottom.shape), np.nan)
    found: Floats = np.divide(top, bottom, out=empty, where=bottom > 0)
    return found


def means(draws: Draws, values: Floats) -> Floats:
    """[resamples]: the mean of `values` [prompts] over the prompts drawn; NaN says nothing."""
    known = np.isfinite(values).astype(np.float64)
    return ratios(draws.weights @ np.nan_to_num(values), draws.weights @ known)
