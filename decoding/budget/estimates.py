"""Ratios of sums over prompts, and their intervals: of the figure itself, or of what new prompts would show."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from decoding.budget.walks import Bools, Floats
from store.intervals import RESAMPLES, SEED

LEVEL = 0.90
TOLD = 1.5
"""Half widths from no difference at which one is told four times in five (normal quantiles .84 and .95)."""
MOST_PROMPTS = 1_000_000


@dataclass(frozen=True)
class Estimate:
    """A ratio and its 90 % interval; None with fewer than two prompts."""

    value: float
    ci: tuple[float, float] | None
    prompts: int

    @property
    def above_one(self) -> bool:
        """Whether the interval lies above 1."""
        return self.ci is not None and self.ci[0] > 1.0

    @property
    def prompts_needed(self) -> int | None:
        """Prompts like these that would tell such a ratio from 1; None where no number of them would."""
        if self.ci is None or self.value <= 0.0 or abs(math.log(self.value)) < 1e-4:
            return None
        half = (math.log(self.ci[1]) - math.log(self.ci[0])) / 2
        needed = self.prompts * (TOLD * half / math.log(self.value)) ** 2
        return math.ceil(min(max(needed, 2.0), MOST_PROMPTS))


class Resampled:
    """Prompts drawn anew, each within its task; made once for all ratios of a session."""

    def __init__(self, tasks: Sequence[int], resamples: int = RESAMPLES) -> None:
        rng = np.random.default_rng(SEED)
        task = np.asarray(tasks, dtype=np.int64)
        self._weights = np.zeros((resamples, len(task)))
        self._task = task
        for each in np.unique(task):
            members = np.flatnonzero(task == each)
            share = np.full(len(members), 1.0 / len(members))
            self._weights[:, members] = rng.multinomial(len(members), share, size=resamples)

    def members(self, task: int) -> Bools:
        """``[P]``: the prompts of a task."""
        found: Bools = self._task == task
        return found

    def ratio(
        self, top: Sequence[tuple[Floats, Floats]], *, only: int | None = None, new_prompts: bool = False
    ) -> Estimate:
        """The product of ``sum(a) / sum(b)`` over the pairs of `top`, all ``[P]``.

        `only` takes one task's prompts. With `new_prompts` the interval is that of what as many other
        prompts would show: their chance is added to that of these.
        """
        chosen = np.ones(len(self._task), dtype=np.bool_) if only is None else self._task == only
        prompts = int(chosen.sum())
        value = math.exp(
            sum(math.log(max(a[chosen].sum(), 1e-12)) - math.log(max(b[chosen].sum(), 1e-12)) for a, b in top)
        )
        freedom = prompts - len(np.unique(self._task[chosen]))
        if freedom < 1:
            return Estimate(value, None, prompts)
        weights = self._weights[:, chosen]
        logs = np.zeros(len(weights))
        for a, b in top:
            over, under = weights @ a[chosen], weights @ b[chosen]
            logs += np.log(np.maximum(over, 1e-12)) - np.log(np.maximum(under, 1e-12))
        # A bootstrap of n prompts spreads too little by sqrt(freedom / n), and knows no Student's t.
        out = _t_quantile(freedom) * float(logs.std()) * math.sqrt(prompts / freedom)
        out *= math.sqrt(2.0) if new_prompts else 1.0
        return Estimate(value, (value * math.exp(-out), value * math.exp(out)), prompts)


def _t_quantile(freedom: int) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.5 + LEVEL / 2))
