"""Devices behind NVML: the functions of the pynvml module answer for them, with the library's own errors."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest


@dataclass
class Device:
    """One GPU. What is None is not supported by it; `mig` is "card" for a partitioned card, "part" for a part."""

    uuid: str = "a"
    name: str = "NVIDIA H100 80GB HBM3"
    percent: int | None = 87
    used: int | None = 41_200_000_000
    milliwatts: int | None = 412_000
    celsius: int | None = 61
    millijoules: int | None = 5_000_000
    mig: str = ""


def install(monkeypatch: pytest.MonkeyPatch, devices: Sequence[Device]) -> None:
    """A driver with these devices, and a torch in this process that works on all of them."""
    properties = [SimpleNamespace(uuid=device.uuid) for device in devices]
    cuda = SimpleNamespace(
        is_initialized=lambda: True,
        device_count=lambda: len(devices),
        memory_reserved=lambda index: 1,
        get_device_properties=lambda index: properties[index],
    )
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))

    def by_uuid(uuid: str) -> Device:
        for device in devices:
            if uuid == ("MIG-" if device.mig == "part" else "GPU-") + device.uuid:
                return device
        raise pynvml.NVMLError_NotFound

    def answer(value: Any) -> Any:
        if value is None:
            raise pynvml.NVMLError_NotSupported
        return value

    def mig_mode(device: Device) -> list[int]:
        if device.mig == "part":
            raise pynvml.NVMLError_InvalidArgument
        return [int(device.mig == "card"), 0]

    functions = {
        "nvmlInit": lambda: None,
        "nvmlSystemGetDriverVersion": lambda: "580.82.07",
        "nvmlSystemGetCudaDriverVersion": lambda: 13000,
        "nvmlDeviceGetHandleByUUID": by_uuid,
        "nvmlDeviceGetCount": lambda: len(devices),
        "nvmlDeviceGetHandleByIndex": lambda index: devices[index],
        "nvmlDeviceGetName": lambda d: d.name,
        "nvmlDeviceGetMigMode": mig_mode,
        "nvmlDeviceIsMigDeviceHandle": lambda d: int(d.mig == "part"),
        "nvmlDeviceGetUtilizationRates": lambda d: SimpleNamespace(gpu=answer(d.percent)),
        "nvmlDeviceGetMemoryInfo": lambda d: SimpleNamespace(used=answer(d.used), total=80_000_000_000),
        "nvmlDeviceGetPowerUsage": lambda d: answer(d.milliwatts),
        "nvmlDeviceGetEnforcedPowerLimit": lambda d: answer(d.milliwatts and 700_000),
        "nvmlDeviceGetTemperature": lambda d, sensor: answer(d.celsius),
        "nvmlDeviceGetClockInfo": lambda d, kind: answer(
            d.milliwatts and {pynvml.NVML_CLOCK_SM: 1980, pynvml.NVML_CLOCK_MEM: 2619}[kind]
        ),
        "nvmlDeviceGetTotalEnergyConsumption": lambda d: answer(d.millijoules),
    }
    for name, function in functions.items():
        monkeypatch.setattr(pynvml, name, function)
