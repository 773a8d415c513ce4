"""Protects: what a million tokens take follows from tokens, time, price and measured energy, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from spectui.decoding.machine import energy
from spectui.decoding.machine.energy import EnergyMeter, cpu_joules
from spectui.store.analysis.spending import PerMillion, Spending
from spectui.store.counts.metrics import joules_per_million, price_per_million, seconds_per_million
from spectui.tui.report.spending import spending_grid
from tests.store.analysis.planted_trees import Truth, planted_trees


def test_a_million_tokens() -> None:
    # 100 tokens in 2 s: 20 ms each, so 20,000 s a million.
    seconds = seconds_per_million(100, 2000.0)
    assert seconds == pytest.approx(20_000.0)
    assert price_per_million(seconds, 3.6) == pytest.approx(20.0)
    assert joules_per_million(seconds, 50.0) == pytest.approx(1e6)
    assert seconds_per_million(0, 0.0) is None
    assert price_per_million(seconds, None) is None
    assert price_per_million(None, 1.0) is None
    assert joules_per_million(seconds, None) is None


def test_a_note_explains_the_columns_that_are_there_and_no_other() -> None:
    summary = planted_trees({"code": Truth((0.6,) * 3)}).summary
    unknown, known = PerMillion(None, None, None), PerMillion(2.0, None, None)
    for plain, explained in ((unknown, False), (known, True)):
        shown = spending_grid(summary, [Spending("code", known, plain)])
        assert ("without" in [column.title for column in shown.columns]) is explained
        assert ("without:" in shown.note) is explained


def packages(folder: Path, *counters: int) -> None:
    for number, value in enumerate(counters):
        zone = folder / f"intel-rapl:{number}"
        (folder / f"intel-rapl:{number}:0").mkdir(parents=True, exist_ok=True)
        zone.mkdir(exist_ok=True)
        (zone / "energy_uj").write_text(f"{value}\n")
        (folder / f"intel-rapl:{number}:0" / "energy_uj").write_text("999\n")


def test_energy_is_that_of_the_packages_while_rounds_are_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cpu_joules(tmp_path) is None
    packages(tmp_path, 1_000_000, 2_000_000)
    assert cpu_joules(tmp_path) == pytest.approx(3.0)
    clock = iter([0.0, 1.0, 2.0, 3.0])
    monkeypatch.setattr("spectui.decoding.machine.energy.time.monotonic", lambda: next(clock))
    monkeypatch.setattr(energy, "in_use", list)
    meter = EnergyMeter(tmp_path)
    monkeypatch.setattr(energy.decoding_now, "is_set", lambda: False)
    assert meter.spent() is None
    packages(tmp_path, 9_000_000, 2_000_000)
    assert meter.spent() is None  # still loading
    monkeypatch.setattr(energy.decoding_now, "is_set", lambda: True)
    packages(tmp_path, 19_000_000, 2_500_000)
    assert meter.spent() == pytest.approx((10.5, 1.0))
    packages(tmp_path, 1_000, 2_500_000)  # the counter began again
    assert meter.spent() == pytest.approx((10.5, 1.0))


def test_what_may_not_be_read_is_not_guessed(tmp_path: Path) -> None:
    packages(tmp_path, 5)
    (tmp_path / "intel-rapl:0" / "energy_uj").unlink()
    assert cpu_joules(tmp_path) is None
