"""Bytes that watching a server writes to a real terminal, at rest and under load."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.servers.watch.fake import SETUPS, Answer, FakeServer, page, simulated
from tests.servers.watch.test_metrics import page as recorded_page
from tests.tui.terminal.pty import Terminal
from tests.waiting import until

IDLE, LIVE = 1_000, 3_000
"""Bytes a second, 120x40, 256 colours."""
SECONDS = 6.0
WATCH = "import sys; from spectui.tui.cli import main; main(sys.argv[1:])"


def at_rest(path: str) -> Answer | None:
    """A vLLM that answers nobody but us."""
    return page(recorded_page("vllm-metrics-eagle3")) if path == "/metrics" else (404, "", "")


def written(server: FakeServer, database: Path, waits_for: str) -> float:
    """Bytes a second once all is drawn."""
    argv = [sys.executable, "-c", WATCH, "watch", server.url, "--db", str(database)]
    terminal = Terminal(argv, columns=120, rows=40)
    try:
        terminal.wait_for(waits_for)
        terminal.wait_for("session #")
        begun = time.monotonic()
        until(lambda: time.monotonic() - begun >= SECONDS)
        return len(terminal.output(begun)) / SECONDS
    finally:
        terminal.close()


@pytest.mark.parametrize("state", ["idle", "live"])
def test_watching_stays_within_the_budget(tmp_path: Path, state: str) -> None:
    answers: dict[str, Callable[[str], Answer | None]] = {
        "idle": at_rest,
        "live": simulated("vllm", replace(SETUPS["eagle"], concurrency=3), before_s=60.0),
    }
    with FakeServer(answers[state]) as server:
        rate = written(server, tmp_path / "w.db", "idle" if state == "idle" else "tok/s")
    assert 20 < rate <= (IDLE if state == "idle" else LIVE), f"{rate:.0f} bytes a second"
