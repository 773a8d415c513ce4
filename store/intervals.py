"""Confidence intervals of ratios, from resampling prompts.

Nodes and rounds of one prompt are not independent; prompts are. So whole prompts are drawn with
replacement, and the ratio of sums is worked out anew for each draw (the cluster bootstrap).
"""

from __future__ import annotations

from collections.abc import Sequence

from store.rows import Interval

RESAMPLES = 2000
LEVEL = 0.95
GROUPS = 1000
"""More prompts than this are resampled in so many groups, whose sums vary as theirs do: else it takes ever longer."""
DRAWN = 100_000
"""Numbers drawn at a time: a dashboard does this every few seconds for days, of ever more prompts."""
SEED = 20260414
"""Fixed, so that an interval on a screen moves only when the data does."""


def ratio_interval(numerators: Sequence[float], denominators: Sequence[float]) -> Interval | None:
    """Interval of ``sum(numerators) / sum(denominators)``, both of shape ``[prompts]``.

    Prompts whose denominator is 0 say nothing and are left out; None when fewer than two are left.
    """
    import numpy as np  # 0.1 s, which the first screen cannot spare

    top = np.asarray(numerators, dtype=np.float64)
    bottom = np.asarray(denominators, dtype=np.float64)
    top, bottom = top[bottom > 0], bottom[bottom > 0]
    prompts = len(bottom)
    if prompts < 2:
        return None
    rng = np.random.default_rng(SEED)
    ratios = np.empty(RESAMPLES)
    value = float(top.sum() / bottom.sum())
    if prompts > GROUPS:
        # Every group has prompts from all parts of the session.
        group = np.arange(prompts) % GROUPS
        top = np.bincount(group, top).astype(np.float64)
        bottom = np.bincount(group, bottom).astype(np.float64)
    units = len(bottom)
    step = max(DRAWN // units, 1)
    for at in range(0, RESAMPLES, step):
        # How often each is drawn, [step, units].
        drawn = rng.multinomial(units, np.full(units, 1.0 / units), size=min(step, RESAMPLES - at))
        ratios[at : at + step] = (drawn @ top) / (drawn @ bottom)
    low, high = np.quantile(ratios, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(low), float(high), prompts)
