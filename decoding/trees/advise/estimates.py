"""Ratios of sums over prompts, with intervals: of the ratio itself, or of what new prompts would show."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from spectui.store.counts.intervals import Figure, standard_error, student_t
from spectui.store.reading.columns import Bools, Floats

LEVEL = 0.90
WIDER = 1.2
"""Width of a 95 % interval over that of a 90 % one."""
DETECTED = 1.5
"""Half widths from no difference at which one is detected four times in five (normal quantiles .84 and .95)."""
MOST_PROMPTS = 1_000_000
WIDEST = 1000.0
"""Factor from the ratio at which an interval is cut off: it says nothing long before, and a power of it overflows."""


@dataclass(frozen=True)
class Estimate:
    """A ratio and its 90 % interval; None with fewer than two prompts."""

    value: float
    ci: tuple[float, float] | None
    prompts: int

    def within(self, low: float, high: float) -> Estimate:
        """The same, its interval cut to what is possible."""
        ci = None if self.ci is None else (max(self.ci[0], low), min(self.ci[1], high))
        return replace(self, ci=ci)

    @property
    def above_one(self) -> bool:
        """True where the interval lies above 1."""
        return self.ci is not None and self.ci[0] > 1.0

    @property
    def most(self) -> float | None:
        """The upper end of the 95 % interval, for statements that should seldom be wrong."""
        return None if self.ci is None else self.value * (self.ci[1] / self.value) ** WIDER

    @property
    def prompts_needed(self) -> int | None:
        """Number of prompts like these that would show such a ratio to differ from 1; None where no number would."""
        if self.ci is None or self.value <= 0.0 or abs(math.log(self.value)) < 1e-4:
            return None
        half = (math.log(self.ci[1]) - math.log(self.ci[0])) / 2
        needed = self.prompts * (DETECTED * half / math.log(self.value)) ** 2
        return math.ceil(min(max(needed, 2.0), MOST_PROMPTS))

    def prompts_to_tell(self, ratio: float) -> int | None:
        """Number of prompts like these whose interval would end before `ratio`; None where no number would.

        As if all of the interval came from prompts: better costs take another measurement.
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

    @property
    def most(self) -> int:
        """Prompts of the task that has most."""
        return int(np.bincount(self._task).max())

    def members(self, task: int) -> Bools:
        """``[P]``: the prompts of a task."""
        members: Bools = self._task == task
        return members

    def ratio(
        self,
        pairs: Sequence[tuple[Floats, Floats]],
        *,
        only: int | None = None,
        new_prompts: bool = False,
        costs: float = 0.0,
        folds: int = 0,
    ) -> Estimate:
        """The product of ``sum(a) / sum(b)`` over `pairs`, all ``[P]``.

        `only` takes one task's prompts. With `new_prompts` the interval is that of what as many other prompts would
        show: their variation is added to that of these. `costs` is the standard deviation of the logarithm
        of the ratio that comes from how well costs are known. `folds` are the parts of the prompts that took turns in
        choosing what is judged on the others; 0 where nothing was chosen.
        """
        chosen = np.ones(len(self._task), dtype=np.bool_) if only is None else self._task == only
        prompts = int(chosen.sum())
        log_ratio, moved = 0.0, np.zeros(prompts)
        for a, b in pairs:
            over, under = max(float(a[chosen].sum()), 1e-12), max(float(b[chosen].sum()), 1e-12)
            log_ratio += math.log(over) - math.log(under)
            moved += a[chosen] / over - b[chosen] / under
        value = math.exp(log_ratio)
        if prompts <= len(np.unique(self._task[chosen])):
            return Estimate(value, None, prompts)
        # A ratio of two trees that are one is known, however few prompts there are.
        if not np.abs(moved).max() > 1e-12 and not costs:
            return Estimate(value, (value, value), prompts)
        variation = standard_error(Figure(value, moved), self._task[chosen])
        if variation is None:
            return Estimate(value, None, prompts)
        error, freedom = variation
        error *= math.sqrt(2.0) if new_prompts else 1.0
        if folds > 1:
            # Choices for different folds share most of their prompts, and the luck of these: Nadeau and Bengio (2003).
            error *= math.sqrt(1 + folds / (folds - 1))
        both = math.hypot(error, costs)
        # Satterthwaite's degrees of freedom; those of costs are taken as unlimited.
        half = min(student_t(freedom * (both / error) ** 4, LEVEL) * both, math.log(WIDEST))
        return Estimate(value, (value * math.exp(-half), value * math.exp(half)), prompts)
