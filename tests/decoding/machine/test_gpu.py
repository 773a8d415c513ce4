"""A machine without a GPU, or a driver that fails, must never disturb a run's heartbeat; what a GPU says is kept."""

from __future__ import annotations

import json
import sys
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pynvml
import pytest

from spectui.decoding.machine import energy, gpu
from spectui.decoding.machine.energy import EnergyMeter
from spectui.decoding.machine.gpu import STEP_SECONDS, STEPS, Gpus, driver, in_use
from spectui.decoding.worker import heartbeat
from spectui.store.database import connect
from spectui.store.reading.reader import Reader
from tests import nvml
from tests.nvml import Device
from tests.store.samples import claimed_writer
from tests.waiting import until


def test_no_gpu_in_use_is_no_figure() -> None:
    assert Gpus().readings() is None
    assert Gpus().joules() is None


@pytest.mark.skipif(driver() is not None, reason="there is an NVIDIA driver")
def test_without_a_driver_the_real_library_says_nothing() -> None:
    with pytest.raises(pynvml.NVMLError):
        pynvml.nvmlInit()
    assert driver() is None


def test_every_gpu_in_use_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml.install(monkeypatch, [Device(), Device(uuid="b", percent=3, milliwatts=70_500)])
    readings = Gpus().readings()
    assert readings is not None
    first, second = json.loads(json.dumps(readings))["gpus"]
    assert first == {
        "index": 0, "name": "NVIDIA H100 80GB HBM3", "percent": 87, "used_bytes": 41_200_000_000,
        "total_bytes": 80_000_000_000, "watts": 412.0, "limit_watts": 700.0, "celsius": 61, "mhz": 1980,
        "memory_mhz": 2619,
    }  # fmt: skip
    assert (second["index"], second["percent"], second["watts"]) == (1, 3, 70.5)
    assert driver() == ("580.82.07", (13, 0))


def test_the_load_of_the_last_minutes_is_kept_in_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device(percent=0)
    nvml.install(monkeypatch, [device])
    gpus = Gpus()
    for second in range((STEPS + 2) * STEP_SECONDS):
        device.percent = 10 * (second // STEP_SECONDS % 10)
        readings = gpus.readings()
    assert readings is not None
    history = readings["gpus"][0]["history"]
    assert len(history) == STEPS
    assert history[-3:] == [10 * (n % 10) for n in range(STEPS - 1, STEPS + 2)]


@pytest.mark.parametrize(
    ("device", "keys"),
    [
        (Device(mig="part", percent=None, milliwatts=None, celsius=None), {"used_bytes", "total_bytes"}),
        (Device(mig="card", percent=None), None),
        (Device(percent=None, used=None, milliwatts=None, celsius=None), None),
        (Device(percent=50, used=None, milliwatts=None, celsius=None), {"percent"}),
    ],
)
def test_what_is_not_reported_is_left_out(
    monkeypatch: pytest.MonkeyPatch, device: Device, keys: set[str] | None
) -> None:
    nvml.install(monkeypatch, [device])
    readings = Gpus().readings()
    if keys is None:
        assert readings is None
    else:
        assert readings is not None
        assert readings["gpus"][0].keys() == keys | {"index", "name"}


@pytest.mark.parametrize(
    "function", ["nvmlInit", "nvmlDeviceGetHandleByUUID", "nvmlDeviceGetUtilizationRates"]
)
@pytest.mark.parametrize(
    "error", [pynvml.NVMLError_DriverNotLoaded, pynvml.NVMLError_LibraryNotFound, pynvml.NVMLError_GpuIsLost]
)
def test_a_failing_driver_is_no_figure(
    monkeypatch: pytest.MonkeyPatch, function: str, error: type[pynvml.NVMLError]
) -> None:
    nvml.install(monkeypatch, [Device(used=None, milliwatts=None, celsius=None)])

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(pynvml, function, fail)
    assert Gpus().readings() is None


def test_energy_is_that_of_all_gpus_or_unknown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    devices = [Device(millijoules=1_000), Device(uuid="b", millijoules=2_000)]
    nvml.install(monkeypatch, devices)
    clock = iter([0.0, 2.0, 3.0])
    monkeypatch.setattr("spectui.decoding.machine.energy.time.monotonic", lambda: next(clock))
    monkeypatch.setattr(energy.decoding_now, "is_set", lambda: True)
    meter = EnergyMeter(tmp_path)
    assert meter.spent() is None  # the first reading is where counting begins
    devices[0].millijoules, devices[1].millijoules = 501_000, 302_000
    assert meter.spent() == pytest.approx((800.0, 2.0))
    devices[1].millijoules = None
    assert meter.spent() is None
    assert gpu.in_use() == [0, 1]


def test_torch_that_is_still_being_imported_has_no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    for half in (SimpleNamespace(), SimpleNamespace(cuda=SimpleNamespace())):
        monkeypatch.setitem(sys.modules, "torch", half)
        assert in_use() == []


def test_a_heart_beats_whatever_its_measurements_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Gpus) -> None:
        raise RuntimeError("no such counter")

    monkeypatch.setattr(Gpus, "readings", fail)
    monkeypatch.setattr(heartbeat, "HEARTBEAT_SECONDS", 0.01)
    path = tmp_path / "runs.db"
    writer = claimed_writer(connect(path), ["code"])
    writer.heartbeat(1.0, 1)
    with Reader(path) as reader, heartbeat.heartbeat(path, 1):
        for _ in range(2):
            before = reader.session(1).heartbeat_at
            until(lambda before=before: reader.session(1).heartbeat_at != before)  # type: ignore[misc]


def test_a_heart_beats_though_the_database_could_not_be_opened_at_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A run without heartbeats reads as silent, and on another host as gone: a second worker would take it."""
    monkeypatch.setattr(heartbeat, "HEARTBEAT_SECONDS", 0.01)
    path, away = tmp_path / "runs.db", tmp_path / "away.db"
    with closing(connect(path)) as connection:
        claimed_writer(connection, ["code"])
    path.rename(away)
    with heartbeat.heartbeat(path, 1):
        until(lambda: "there is no database" in caplog.text)
        away.rename(path)
        with Reader(path) as reader:
            before = reader.session(1).heartbeat_at
            until(lambda: reader.session(1).heartbeat_at != before)


def test_all_gpus_of_the_machine_are_read_whoever_works_on_them(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml.install(monkeypatch, [Device(), Device(uuid="b", percent=3, name="NVIDIA L4"), Device(mig="card")])
    monkeypatch.setitem(sys.modules, "torch", None)
    readings = gpu.MachineGpus().readings()
    assert [(each["index"], each["percent"], each["name"]) for each in readings] == [
        (0, 87, "NVIDIA H100 80GB HBM3"),
        (1, 3, "NVIDIA L4"),
    ]


def test_a_machine_without_a_driver_has_no_gpus() -> None:
    assert gpu.MachineGpus().readings() == []
