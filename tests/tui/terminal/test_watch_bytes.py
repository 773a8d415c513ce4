"""Bytes that watching a server writes to a real terminal, at rest and under load."""

from __future__ import annotations

import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import median

from tests.servers.watch.fake import SETUPS, Answer, FakeServer, page, simulated
from tests.servers.watch.test_metrics import page as recorded_page
from tests.tui.terminal.pty import Terminal
from tests.waiting import until

IDLE, LIVE = 1_000, 3_000
"""Bytes a second, 120x40, 256 colours."""
SECONDS = 4
"""Of which the median one counts: a layout that comes late is one second's."""
RECENTLY = time.time() - 3600.0
RECORDED = recorded_page("vllm-metrics-eagle3")
WATCH = "import sys; from spectui.tui.cli import main; main(sys.argv[1:])"


def at_rest(path: str) -> Answer | None:
    """A vLLM that answers nobody but us, started an hour ago: the header of one that is up for days counts minutes."""
    if path != "/metrics":
        return 404, "", ""
    return page(
        re.sub(r"(?m)^(\S+_created\b.*|process_start_time_seconds) \S+$", rf"\1 {RECENTLY}", RECORDED)
    )


def written(server: FakeServer, database: Path, waits_for: str) -> float:
    """Bytes of the median second once all is drawn."""
    argv = [sys.executable, "-c", WATCH, "watch", server.url, "--db", str(database)]
    terminal = Terminal(argv, columns=120, rows=40)
    try:
        terminal.wait_for(waits_for)
        terminal.wait_for("session #")
        begun = time.monotonic()
        until(lambda: time.monotonic() - begun >= SECONDS)
        since = [len(terminal.output(begun + second)) for second in range(SECONDS + 1)]
        return median(more - fewer for more, fewer in pairwise(since))
    finally:
        terminal.close()


def test_watching_stays_within_the_budget(tmp_path: Path) -> None:
    """Both at once: most of it is waiting."""
    live = simulated("vllm", replace(SETUPS["eagle"], concurrency=3), before_s=60.0)
    with FakeServer(at_rest) as quiet, FakeServer(live) as busy, ThreadPoolExecutor() as pool:
        idle = pool.submit(written, quiet, tmp_path / "idle.db", "idle")
        under_load = pool.submit(written, busy, tmp_path / "live.db", "tok/s")
        assert 20 < idle.result() <= IDLE, f"{idle.result():.0f} bytes a second at rest"
        assert 20 < under_load.result() <= LIVE, f"{under_load.result():.0f} bytes a second"
