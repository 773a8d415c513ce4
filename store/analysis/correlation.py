"""Spearman's rank correlation of an entropy with the outcome of nodes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from spectui.store.analysis.resampling import RHO
from spectui.store.counts.intervals import Pair, mean_interval, pair
from spectui.store.reading.columns import Floats, Ints


@dataclass(frozen=True)
class Correlation:
    """Spearman's rho, per prompt and averaged, and pooled as the study published it."""

    per_prompt: float | None
    """The mean over prompts; those in which either side is constant say nothing."""
    ci: Pair | None
    """95 %, of `per_prompt`."""
    pooled: float | None
    """Over all nodes together: mixes what happens within prompts with how prompts differ."""
    prompts: int


def spearman(x: Floats, y: Floats) -> float:
    """Rho of two columns [n], ties ranked by their mean; NaN when one is constant or n < 2."""
    if len(x) < 2:
        return float("nan")
    a, b = _ranks(x), _ranks(y)
    a -= a.mean()
    b -= b.mean()
    scale = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / scale) if scale > 0 else float("nan")


def by_prompt(x: Floats, y: Floats, start: Ints) -> Floats:
    """[prompts]: rho within each prompt; prompt i has the nodes start[i] to start[i + 1]; NaN pairs are left out."""
    return np.array(
        [spearman(*_known(x[low:high], y[low:high])) for low, high in pairwise(start)],
        dtype=np.float64,
    )


def correlation(per_prompt: Floats, x: Floats, y: Floats, task: Ints) -> Correlation:
    """Summary of `by_prompt` [prompts], of these tasks, and of all nodes (x, y) of the same prompts."""
    known = per_prompt[np.isfinite(per_prompt)]
    pooled = spearman(*_known(x, y))
    return Correlation(
        float(known.mean()) if len(known) else None,
        pair(mean_interval(per_prompt, RHO, task)),
        pooled if np.isfinite(pooled) else None,
        len(known),
    )


def _ranks(values: Floats) -> Floats:
    """Ranks with ties at their mean, as scipy.stats.rankdata, whose import takes a second."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Floats = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return ranks


def _known(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    both = np.isfinite(x) & np.isfinite(y)
    return x[both], y[both]
