"""Ratios of sums over prompts, and their intervals: of the figure itself, or of what new prompts would show."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from spectui.store.counts.intervals import Figure, standard_error, student_t
from spectui.store.reading.columns import Bools, Floats

LEVEL = 0.90
WIDER = 1.2
"""An interval of 95 % is that much wider."""
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
    def most(self) -> float | None:
        """The upper end of the 95 % interval, for what is seldom to be said in error."""
        return None if self.ci is None else self.value * (self.ci[1] / self.value) ** WIDER

    @property
    def prompts_needed(self) -> int | None:
        """Prompts like these that would tell such a ratio from 1; None where no number of them would."""
        if self.ci is None or self.value <= 0.0 or abs(math.log(self.value)) < 1e-4:
            return None
        half = (math.log(self.ci[1]) - math.log(self.ci[0])) / 2
        needed = self.prompts * (TOLD * half / math.log(self.value)) ** 2
        return math.ceil(min(max(needed, 2.0), MOST_PROMPTS))

    def prompts_to_tell(self, ratio: float) -> int | None:
        """Prompts like these whose interval would end before `ratio`; None where no number of them would.

        As if all of it came from prompts: better costs take another look at the machine.
        """
        if self.ci is None or self.value >= ratio:
            return None
        half = (math.log(self.ci[1]) - math.log(self.ci[0])) / 2
        needed = self.prompts * (half / math.log(ratio / self.value)) ** 2
        return math.ceil(min(max(needed, 2.0), MOST_PROMPTS))


class Prompts:
    """The prompts of a session by task: ratios of sums over them, and their intervals."""

    def __init__(self, tasks: Sequence[int]) -> None:
        self._task = np.asarray(tasks, dtype=np.int64)

    def members(self, task: int) -> Bools:
        """``[P]``: the prompts of a task."""
        found: Bools = self._task == task
        return found

    def ratio(
        self,
        top: Sequence[tuple[Floats, Floats]],
        *,
        only: int | None = None,
        new_prompts: bool = False,
        costs: float = 0.0,
    ) -> Estimate:
        """The product of ``sum(a) / sum(b)`` over the pairs of `top`, all ``[P]``.

        `only` takes one task's prompts. With `new_prompts` the interval is that of what as many other
        prompts would show: their chance is added to that of these. `costs` is the standard deviation of the logarithm
        of the ratio that comes from how well costs are known.
        """
        chosen = np.ones(len(self._task), dtype=np.bool_) if only is None else self._task == only
        prompts = int(chosen.sum())
        logs, moved = 0.0, np.zeros(prompts)
        for a, b in top:
            over, under = max(float(a[chosen].sum()), 1e-12), max(float(b[chosen].sum()), 1e-12)
            logs += math.log(over) - math.log(under)
            moved += a[chosen] / over - b[chosen] / under
        value = math.exp(logs)
        if prompts <= len(np.unique(self._task[chosen])):
            return Estimate(value, None, prompts)
        # A ratio of two trees that are one is known, however few prompts there are.
        if not np.abs(moved).max() > 1e-12 and not costs:
            return Estimate(value, (value, value), prompts)
        found = standard_error(Figure(value, moved), self._task[chosen])
        if found is None:
            return Estimate(value, None, prompts)
        error, freedom = found
        error *= math.sqrt(2.0) if new_prompts else 1.0
        both = math.hypot(error, costs)
        # Satterthwaite's degrees of freedom: costs are known as well as is said.
        out = student_t(freedom * (both / error) ** 4, LEVEL) * both
        return Estimate(value, (value * math.exp(-out), value * math.exp(out)), prompts)
