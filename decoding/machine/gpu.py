"""Load, memory and energy of the GPUs of this process, by NVML; nothing where they cannot be read.

Torch-free: torch is used only where the process has it already, and never made to touch a GPU.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

STEP_SECONDS = 5
"""Readings, one a second, whose mean is a point of the history."""
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
            reading = {} if handle is None else _reading(handle)
            if reading:
                load = self._loads.setdefault(index, _Load())
                history = load.add(reading["percent"]) if "percent" in reading else []
                out.append({"index": index, **reading, **({"history": history} if history else {})})
        return {"gpus": out} if out else None

    def joules(self) -> float | None:
        """Joules that these GPUs have used since their driver was loaded; None unless each of them counts it."""
        total = 0.0
        for index in (indexes := in_use()):
            handle = self._handle(index)
            millijoules = None if handle is None else _query(_energy_of(handle))
            if millijoules is None:
                return None
            total += millijoules / 1e3
        return total if indexes else None

    def _handle(self, index: int) -> Any:
        """NVML's handle of torch's device `index`; None where NVML does not know it."""
        if index not in self._handles:
            uuid = sys.modules["torch"].cuda.get_device_properties(index).uuid
            handle = _query(_handle_of(f"GPU-{uuid}")) or _query(_handle_of(f"MIG-{uuid}"))
            if not handle:
                return None
            self._handles[index] = handle
        return self._handles[index]


class MachineGpus:
    """All GPUs of this machine, whoever works on them; and their load over the last minutes."""

    def __init__(self) -> None:
        self._loads: dict[int, _Load] = {}

    def readings(self) -> list[dict[str, Any]]:
        """As `Gpus.readings` has them, to be called once a second; none without a driver."""

        def count(nvml: Any) -> int:
            nvml.nvmlInit()
            return int(nvml.nvmlDeviceGetCount())

        out = []
        for index in range(_query(count) or 0):
            handle = _query(partial(_device, index))
            reading = {} if handle is None else _reading(handle)
            if reading:
                load = self._loads.setdefault(index, _Load())
                history = load.add(reading["percent"]) if "percent" in reading else []
                out.append({"index": index, **reading, **({"history": history} if history else {})})
        return out


def _device(index: int, nvml: Any) -> Any:
    return nvml.nvmlDeviceGetHandleByIndex(index)


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

    versions = _query(ask)
    return None if versions is None else (versions[0], (versions[1] // 1000, versions[1] % 1000 // 10))


def _reading(handle: Any) -> dict[str, Any]:
    """Figures of one device; none for a whole card that is partitioned, which knows nothing of our part."""
    mode = _query(lambda nvml: nvml.nvmlDeviceGetMigMode(handle)[0] == nvml.NVML_DEVICE_MIG_ENABLE)
    part = _query(lambda nvml: bool(nvml.nvmlDeviceIsMigDeviceHandle(handle)))
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
    figures = {name: value for name, ask in asks.items() if (value := _query(ask)) is not None}
    if not figures:
        return {}
    name = _query(lambda nvml: nvml.nvmlDeviceGetName(handle))
    return {"name": "" if name is None else str(name), **figures}


def _handle_of(uuid: str) -> Callable[[Any], Any]:
    def ask(nvml: Any) -> Any:
        nvml.nvmlInit()
        return nvml.nvmlDeviceGetHandleByUUID(uuid)

    return ask


def _energy_of(handle: Any) -> Callable[[Any], Any]:
    """In millijoules."""
    return lambda nvml: nvml.nvmlDeviceGetTotalEnergyConsumption(handle)


def _query(ask: Callable[[Any], Any]) -> Any:
    """NVML's answer; None without the library or a driver, and where the device has none."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        return ask(pynvml)
    except pynvml.NVMLError:
        return None
