"""Energy as the hardware counts it: NVML for a GPU, RAPL for a CPU where it may be read; nothing is estimated."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

RAPL = Path("/sys/class/powercap")
"""Package counters of Intel and AMD; most systems let only root read them."""

decoding_now = threading.Event()
"""Set while rounds are decoded: loading and waiting are no part of a token's energy."""


class EnergyMeter:
    """Adds up what was used between calls while `decoding_now` is set."""

    def __init__(self, rapl: Path = RAPL) -> None:
        self._rapl = rapl
        self._joules = 0.0
        self._seconds = 0.0
        self._last: tuple[float, float] | None = None

    def spent(self) -> tuple[float, float] | None:
        """Joules and seconds so far; None where nothing counts them."""
        counted = _gpu_joules() if _on_gpu() else cpu_joules(self._rapl)
        now = time.monotonic()
        if counted is None:
            return None
        if self._last is not None and decoding_now.is_set() and counted >= self._last[0]:  # counters wrap
            self._joules += counted - self._last[0]
            self._seconds += now - self._last[1]
        self._last = (counted, now)
        return (self._joules, self._seconds) if self._seconds else None


def cpu_joules(folder: Path = RAPL) -> float | None:
    """What all CPU packages have used since some time ago; None where that may not be read."""
    total, found = 0, False
    for zone in sorted(folder.glob("*-rapl:[0-9]*")):
        if zone.name.count(":") == 1:  # a package; its parts have two
            try:
                total += int((zone / "energy_uj").read_text())
                found = True
            except (OSError, ValueError):
                return None
    return total / 1e6 if found else None


def _on_gpu() -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and torch.cuda.is_initialized()


def _gpu_joules() -> float | None:
    import pynvml

    torch = sys.modules["torch"]
    try:
        pynvml.nvmlInit()
        uuid = torch.cuda.get_device_properties(torch.cuda.current_device()).uuid
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
        return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1e3
    except pynvml.NVMLError:
        return None
