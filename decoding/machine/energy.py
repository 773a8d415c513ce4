"""Energy counted by the hardware: NVML for a GPU, RAPL for a CPU where it may be read; nothing is estimated."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from spectui.decoding.machine.gpu import Gpus, in_use

MOST_APART = 3.0
"""Seconds between two readings, which come once a second, from which on the process did not run in between."""
RAPL = Path("/sys/class/powercap")
"""Package counters of Intel and AMD; most systems let only root read them."""

decoding_now = threading.Event()
"""Set while rounds are decoded: loading and waiting are no part of a token's energy."""


class EnergyMeter:
    """Adds up the energy used between calls while `decoding_now` is set."""

    def __init__(self, rapl: Path = RAPL, gpus: Gpus | None = None) -> None:
        self._rapl = rapl
        self._gpus = gpus or Gpus()
        self._joules = 0.0
        self._seconds = 0.0
        self._last: tuple[float, float] | None = None

    def spent(self) -> tuple[float, float] | None:
        """Joules and seconds so far; None where nothing counts them."""
        counted = self._gpus.joules() if in_use() else cpu_joules(self._rapl)
        now = time.monotonic()
        if counted is None:
            return None
        if self._last is not None and decoding_now.is_set():
            joules, seconds = counted - self._last[0], now - self._last[1]
            if joules >= 0 and seconds <= MOST_APART:  # counters wrap
                self._joules += joules
                self._seconds += seconds
        self._last = (counted, now)
        return (self._joules, self._seconds) if self._seconds else None


def cpu_joules(folder: Path = RAPL) -> float | None:
    """Joules that all CPU packages have used, from an arbitrary start; None where that may not be read."""
    packages = []
    for zone in sorted(folder.glob("*-rapl:[0-9]*")):
        if zone.name.count(":") == 1:  # a package; its parts have two
            try:
                packages.append(int((zone / "energy_uj").read_text()))
            except (OSError, ValueError):
                return None
    return sum(packages) / 1e6 if packages else None
