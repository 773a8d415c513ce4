"""How busy the GPUs of this process are, by NVML; nothing wherever that cannot be told.

Torch-free: torch is asked only where the process has it already, and never made to touch a GPU.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from typing import Any

STEP_SECONDS = 5
"""Readings, one a second, that a point of the history is the mean of."""
STEPS = 60
"""Points that are kept: five minutes."""


class Gpus:
    """The GPUs that torch works on in this process, and their load over the last minutes."""

    def __init__(self) -> None:
        self._handles: dict[int, Any] = {}
        self._loads: dict[int, _Load] = {}

    def readings(self) -> dict[str, Any] | None:
        """``{"gpus": [...]}``, ready for JSON; to be called once a second. None where no GPU says anything.

        Each is ``{"index", "name", "percent", "used_bytes", "total_bytes", "watts", "limit_watts", "celsius",
        "mhz", "memory_mhz", "history"}``: what a device does not report is left out (partitioned, MIG, devices
        report their memory alone). `history` has the mean load in per cent of each `STEP_SECONDS`, oldest first.
        """
        out = []
        for index in in_use():
            handle = self._handle(index)
            found = {} if handle is None else _reading(handle)
            if found:
                load = self._loads.setdefault(index, _Load())
                history = load.add(found["percent"]) if "percent" in found else []
                out.append({"index": index, **found, **({"history": history} if history else {})})
        return {"gpus": out} if out else None

    def joules(self) -> float | None:
        """What these GPUs together have used since their driver was loaded; None unless each of them counts it."""
        total = 0.0
        for index in (indexes := in_use()):
            handle = self._handle(index)
            used = None if handle is None else _asked(_energy_of(handle))
            if used is None:
                return None
            total += used / 1e3
        return total if indexes else None

    def _handle(self, index: int) -> Any:
        """NVML's handle of torch's device `index`; None where NVML does not know it."""
        if index not in self._handles:
            uuid = sys.modules["torch"].cuda.get_device_properties(index).uuid
            found = _asked(_handle_of(f"GPU-{uuid}")) or _asked(_handle_of(f"MIG-{uuid}"))
            if not found:
                return None
            self._handles[index] = found
        return self._handles[index]


class _Load:
    """Means of the load, a point for every `STEP_SECONDS` readings."""

    def __init__(self) -> None:
        self._points: deque[int] = deque(maxlen=STEPS)
        self._step: list[float] = []

    def add(self, percent: float) -> list[int]:
        """Take a reading; returns the points that are whole."""
        self._step.append(percent)
        if len(self._step) == STEP_SECONDS:
            self._points.append(round(sum(self._step) / STEP_SECONDS))
            self._step.clear()
        return list(self._points)


def in_use() -> list[int]:
    """Indexes of the GPUs on which torch has memory in this process; none while torch is still being imported."""
    torch = sys.modules.get("torch")
    initialized = getattr(getattr(torch, "cuda", None), "is_initialized", None)
    if torch is None or initialized is None or not initialized():
        return []
    return [i for i in range(torch.cuda.device_count()) if torch.cuda.memory_reserved(i)]


def driver() -> tuple[str, tuple[int, int]] | None:
    """The NVIDIA driver's version and the newest CUDA it can run, ``(13, 0)``; None without a driver."""

    def ask(nvml: Any) -> tuple[str, int]:
        nvml.nvmlInit()
        return str(nvml.nvmlSystemGetDriverVersion()), int(nvml.nvmlSystemGetCudaDriverVersion())

    found = _asked(ask)
    return None if found is None else (found[0], (found[1] // 1000, found[1] % 1000 // 10))


def _reading(handle: Any) -> dict[str, Any]:
    """What one device says of itself; a whole card that is partitioned says nothing of our part of it."""
    mode = _asked(lambda nvml: nvml.nvmlDeviceGetMigMode(handle)[0] == nvml.NVML_DEVICE_MIG_ENABLE)
    part = _asked(lambda nvml: bool(nvml.nvmlDeviceIsMigDeviceHandle(handle)))
    if mode and not part:
        return {}
    asks: dict[str, Callable[[Any], Any]] = {
        "percent": lambda nvml: nvml.nvmlDeviceGetUtilizationRates(handle).gpu,
        "used_bytes": lambda nvml: int(nvml.nvmlDeviceGetMemoryInfo(handle).used),
        "total_bytes": lambda nvml: int(nvml.nvmlDeviceGetMemoryInfo(handle).total),
        "watts": lambda nvml: nvml.nvmlDeviceGetPowerUsage(handle) / 1e3,
        "limit_watts": lambda nvml: nvml.nvmlDeviceGetEnforcedPowerLimit(handle) / 1e3,
        "celsius": lambda nvml: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU),
        "mhz": lambda nvml: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM),
        "memory_mhz": lambda nvml: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM),
    }
    found = {name: value for name, ask in asks.items() if (value := _asked(ask)) is not None}
    if not found:
        return {}
    name = _asked(lambda nvml: nvml.nvmlDeviceGetName(handle))
    return {"name": "" if name is None else str(name), **found}


def _handle_of(uuid: str) -> Callable[[Any], Any]:
    def ask(nvml: Any) -> Any:
        nvml.nvmlInit()
        return nvml.nvmlDeviceGetHandleByUUID(uuid)

    return ask


def _energy_of(handle: Any) -> Callable[[Any], Any]:
    """In millijoules."""
    return lambda nvml: nvml.nvmlDeviceGetTotalEnergyConsumption(handle)


def _asked(ask: Callable[[Any], Any]) -> Any:
    """What NVML answers; None without the library or a driver, and where the device has no answer."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        return ask(pynvml)
    except pynvml.NVMLError:
        return None
