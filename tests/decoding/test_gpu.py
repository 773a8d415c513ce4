"""A machine without a GPU, or a driver that fails, must never disturb a run's heartbeat."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pynvml
import pytest

from decoding.gpu import gpu_use


def test_no_gpu_in_use_is_no_figure() -> None:
    assert gpu_use() is None


def test_a_failing_driver_is_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = SimpleNamespace(cuda=SimpleNamespace(is_initialized=lambda: True))
    monkeypatch.setitem(sys.modules, "torch", torch)

    def fail() -> None:
        raise pynvml.NVMLError_DriverNotLoaded

    monkeypatch.setattr(pynvml, "nvmlInit", fail)
    assert gpu_use() is None
