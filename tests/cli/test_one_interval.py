"""A figure has one interval: on the live screen, in the table at a run's end, in its report, in a comparison."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from spectui.store.reading.reader import Reader
from spectui.tui.cli.result import print_figures
from spectui.tui.feeds import session as session_feed
from spectui.tui.feeds.session import SessionFeed
from spectui.tui.model.state import Charts
from tests.cli.conftest import Invoke
from tests.tui.replay import Recording


def record(database: Path, name: str, seed: int, *, fail: bool = False) -> int:
    recording = Recording(database, prompts=9, name=name)
    recording.begin()
    for number in range(8):
        recording.prompt(tokens=20 + (seed * 7 + number * 13) % 41)
    if fail:
        recording.prompt(tokens=4, finish="failed")
    recording.end()
    return recording.id


@pytest.mark.parametrize("fail", [False, True], ids=["whole", "one failed"])
def test_every_view_has_the_same(
    database: Path,
    invoke: Invoke,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    fail: bool,
) -> None:
    database.parent.mkdir(parents=True, exist_ok=True)
    monkeypatch.setattr(session_feed, "CHART_SECONDS", 0.0)
    first, second = record(database, "one", 1, fail=fail), record(database, "two", 2)
    report: dict[str, Any] = json.loads(invoke("report", first, "--json").stdout)["tasks"]
    compared = json.loads(invoke("compare", first, second, "--json").stdout)
    with Reader(database) as reader:
        feed = SessionFeed(database, first, lambda _: None)
        charts = [item for _ in range(3) for item in feed.look(reader) if isinstance(item, Charts)][-1]
        print_figures(reader, reader.session(first))
    printed = capsys.readouterr().out
    assert len(report) == 4
    told = 0
    for task, figures in report.items():
        length = figures["accepted_length"]
        if length["ci"] is None:
            assert task not in charts.intervals
            continue
        told += 1
        low, high = length["ci"]
        live = charts.intervals[task]
        assert (live.value, live.low, live.high) == pytest.approx((length["mean"], low, high))
        if not fail:
            assert charts.figures[task].mean_accepted_length == pytest.approx(length["mean"])
        assert live.half_width == pytest.approx(max(high - length["mean"], length["mean"] - low))
        assert f"{length['mean']:.2f}  {low:.2f} to {high:.2f}" in " ".join(
            line for line in printed.splitlines() if line.startswith(task)
        ).replace("   ", "  ")
        a = compared["tasks"][task]["figures"]["accepted_length"]["a"]
        assert a["mean"] == pytest.approx(length["mean"])
        assert a["ci"] == pytest.approx(length["ci"])
    assert told >= 3
