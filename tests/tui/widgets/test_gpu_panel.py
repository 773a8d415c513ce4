"""The GPUs of a run: a row each while it is at work, and not a cell of the screen otherwise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from spectui.store.reading.reader import Reader
from spectui.store.rows import SessionSummary
from spectui.tui.widgets.gpu_panel import GpuPanel, gpu_rows
from spectui.tui.widgets.rows import row_width
from tests.tui.conftest import app_for, live_screen, shown, wait_for
from tests.tui.replay import Recording

GPU = {
    "index": 0, "name": "NVIDIA H100 80GB HBM3", "percent": 87, "used_bytes": 41_200_000_000,
    "total_bytes": 80_000_000_000, "watts": 412.0, "limit_watts": 700.0, "celsius": 61, "mhz": 1980,
    "memory_mhz": 2619, "history": [0, 3, 50, 100],
}  # fmt: skip


def text(rows: list[Any]) -> list[str]:
    return ["".join(cell for cell, _ in row) for row in rows]


@pytest.fixture
def summary(database: Path, running: Recording) -> SessionSummary:
    running.writer.heartbeat(191.0, 10**9, {"gpus": [GPU]}, (824.0, 2.0))
    with Reader(database) as reader:
        return reader.session(running.id)


def test_a_row_says_everything_there_is_room_for(summary: SessionSummary) -> None:
    summary = replace(summary, tokens=1000, draft_ms=2000.0, verify_ms=0.0, other_ms=0.0)
    (row,) = text(gpu_rows(summary, 160, 4))
    for words in ("gpu 0", "87 %", " ▁▄█ ", "41.2 GB of 80.0 GB", "412 W of 700 W", "61 °C", "1,980 MHz",
                  "0.82 J/token", "NVIDIA H100"):  # fmt: skip
        assert words in row
    (narrow,) = text(gpu_rows(summary, 80, 4))
    for words in ("87 %", "41.2 GB of 80.0 GB", "412 W of 700 W", "61 °C"):
        assert words in narrow
    for width in range(1, 200):
        assert all(row_width(cells) <= max(width, 20) for cells in gpu_rows(summary, width, 4))


def test_more_gpus_than_rows_are_counted(summary: SessionSummary) -> None:
    many = replace(summary, gpu={"gpus": [{**GPU, "index": i} for i in range(8)]})
    rows = text(gpu_rows(many, 120, 4))
    assert [row.split()[1] for row in rows] == ["0", "1", "2", "3"]
    assert rows[-1].endswith("and 4 more")
    assert gpu_rows(many, 120, 0) == []


def test_a_part_of_a_card_shows_its_memory_alone(summary: SessionSummary) -> None:
    part = {"index": 0, "name": "H100 MIG 1g.10gb", "used_bytes": 4e9, "total_bytes": 10e9}
    (row,) = text(gpu_rows(replace(summary, gpu={"gpus": [part]}), 120, 4))
    assert "4.0 GB of 10.0 GB" in row
    assert "%" not in row


@pytest.mark.parametrize(
    "gpu",
    [
        None, {}, {"name": "H200", "percent": 3}, {"gpus": None}, {"gpus": [1]},
        {"gpus": [{"percent": 3, "history": [float("inf"), "x", -4, 400]}]},
        {"gpus": [{"percent": "high", "history": 3, "mhz": float("nan"), "name": "\x1b[2J", "watts": float("inf")}]},
    ],
)  # fmt: skip
def test_what_somebody_elses_database_says_is_no_harm(summary: SessionSummary, gpu: Any) -> None:
    rows = text(gpu_rows(replace(summary, gpu=gpu), 120, 4))
    assert len(rows) <= 1
    assert "\x1b" not in "".join(rows)
    assert gpu_rows(replace(summary, status="finished"), 120, 4) == []


async def test_it_is_there_only_while_a_gpu_works(database: Path, running: Recording) -> None:
    async with app_for(database, running.id).run_test(size=(120, 40)) as pilot:
        screen = live_screen(pilot)
        panel = screen.query_one(GpuPanel)
        await wait_for(pilot, lambda: shown(screen, 2))
        assert not panel.display
        running.writer.heartbeat(191.0, 10**9, {"gpus": [GPU, {**GPU, "index": 1}]})
        await wait_for(pilot, lambda: panel.size.height == 2)
        assert "61 °C" in panel.text
        await pilot.resize_terminal(80, 24)
        await wait_for(pilot, lambda: panel.size.height == 1)
        running.end()
        await wait_for(pilot, lambda: not panel.display)
