"""Intra-class correlation of the nodes of one prompt, and the design effect that follows from it."""

from __future__ import annotations

import numpy as np

from spectui.store.analysis.counts import Ratio
from spectui.store.analysis.resampling import deviations
from spectui.store.counts.intervals import Pair
from spectui.store.reading.columns import Floats, Ints


def icc(match: Ratio, task: Ints, weights: Floats) -> Floats:
    """[rows]: intra-class correlation of `match` within prompts, tasks' own means taken out; NaN where unknown.

    The analysis-of-variance estimator for binary outcomes in clusters nested in groups (Ridout, Demetrio
    and Firth 1999): (MSB - MSW) / (MSB + (n0 - 1) MSW). It can be slightly negative, as siblings repel each
    other: at most one of them is the argmax. `weights` [rows, prompts] says how often each prompt counts.
    """
    m, n = match.top, match.bottom
    used = n > 0
    w = weights[:, used]
    m, n, group = m[used], n[used], task[used]
    between = w @ (m * m / n)
    total_ones = w @ m
    size, clusters = w @ n, w.sum(axis=1)
    explained = np.zeros(len(w))
    sizes = np.zeros(len(w))
    groups = np.zeros(len(w))
    for each in np.unique(group):
        inside = group == each
        count = w[:, inside] @ n[inside]
        some = count > 0
        groups += some
        safe = np.where(some, count, 1.0)
        explained += np.where(some, (w[:, inside] @ m[inside]) ** 2 / safe, 0.0)
        sizes += np.where(some, (w[:, inside] @ (n[inside] ** 2)) / safe, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        msb = (between - explained) / (clusters - groups)
        msw = (total_ones - between) / (size - clusters)
        n0 = (size - sizes) / (clusters - groups)
        correlation: Floats = (msb - msw) / (msb + (n0 - 1) * msw)
    return np.where((clusters > groups) & (size > clusters), correlation, np.nan)


def icc_interval(value: float, drawn: Floats, nodes: float, prompts: int, strata: int) -> Pair | None:
    """95 % interval of an `icc` from its resamples `drawn` [resamples]; `nodes` is how many a prompt has.

    Resampled prompts differ less than prompts do, and what is left is skewed: percentiles cover the truth too
    seldom. So it is Student's t with the resamples' deviation on Fisher's scale for it, half of which is
    z = log((1 + (n - 1) icc) / (1 - icc)), the log of MSB / MSW. None where that has no value.
    """

    def z(rho: Floats) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore"):
            scaled_rho: Floats = np.log((1 + (nodes - 1) * rho) / (1 - rho))
        return scaled_rho

    (middle,) = z(np.array([value]))
    scaled = z(drawn)
    scaled = scaled[np.isfinite(scaled)]
    freedom = prompts - strata
    if freedom < 1 or not np.isfinite(middle) or len(scaled) < 2:
        return None
    spread = deviations(prompts, freedom) * float(scaled.std())
    if spread < 1e-12:
        return None
    # Of exp(z), without its overflow.
    low, high = (1 - nodes / (np.exp(min(middle + way * spread, 700.0)) + nodes - 1) for way in (-1, 1))
    return float(low), float(high)


def design_effect(icc_value: float, nodes: Floats) -> float:
    """``1 + (n - 1) icc``: how many times more nodes are needed than if they were independent (Kish).

    `nodes` [prompts]; n is their size-weighted mean, sum n^2 / sum n. Not below 0: an estimated icc
    can be less than any true one.
    """
    return max(float(1 + (np.sum(nodes**2) / np.sum(nodes) - 1) * icc_value), 0.0)
