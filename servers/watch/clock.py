"""The one clock of a watch: of samples, of events and of the ages that are shown."""

from __future__ import annotations

import time
from collections.abc import Callable

BEHIND_S = 5.0
"""Seconds behind the machine's clock from which on it is caught up with: after a sleep, or when that was put right."""


class Clock:
    """Time that never goes back, whatever happens to the machine's clock: rates are by it."""

    def __init__(
        self, wall: Callable[[], float] = time.time, steady: Callable[[], float] = time.monotonic
    ) -> None:
        self._wall, self._steady = wall, steady
        self._ahead = wall() - steady()

    def __call__(self) -> float:
        """Now, in seconds of the machine's clock."""
        wall, steady = self._wall(), self._steady()
        if wall - steady - self._ahead > BEHIND_S:
            self._ahead = wall - steady
        return steady + self._ahead
