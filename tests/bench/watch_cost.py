"""Bytes to the terminal and share of a core that `spectui watch` takes, at rest and under load.

    python -m tests.bench.watch_cost [SECONDS]

The servers are simulated vLLM ones in another process whose pages are as long as real ones (52 KB). Each watch is
measured as it begins, and as it is after a day: with the samples that it would have kept until then.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from spectui.servers.client import Client
from spectui.servers.metrics import read_page
from spectui.servers.watch.fleet import LiveFleet
from spectui.servers.watch.history import DAY_S, KEEP
from spectui.servers.watch.server import Watched
from spectui.store.samples import COUNTERS, Histogram, Sample
from spectui.tui.cli import main as spectui
from tests.tui.terminal.pty import Terminal

WATCH = "import sys; from spectui.tui.cli import main; main(sys.argv[1:])"
WARM_S = 15.0
AFTER_A_DAY = "--after-a-day"


def part_of(sample: Sample, share: float, at: float) -> Sample:
    """The counters as they stood when so much of what they count had happened."""

    def histogram(whole: Histogram | None) -> Histogram | None:
        if whole is None:
            return None
        return Histogram(whole.bounds, tuple(share * count for count in whole.counts), share * whole.total)

    numbers: dict[str, Any] = {
        name: None if (count := getattr(sample, name)) is None else share * count for name in COUNTERS
    }
    return replace(
        sample,
        at=at,
        by_position=tuple(share * count for count in sample.by_position),
        finished=tuple((reason, share * count) for reason, count in sample.finished),
        first_token=histogram(sample.first_token),
        round_time=histogram(sample.round_time),
        token_time=histogram(sample.token_time),
        **numbers,
    )


def live_a_day(server: Watched, now: float) -> None:
    """Give a server the samples of a day up to now; what it has counted until now happened evenly in it."""
    with Client(server.url) as client:
        sample = read_page(client.text("/metrics"), now)
    age = DAY_S
    while age > 2.0:
        server.take(part_of(sample, 1 - age / DAY_S, now - age))
        age -= next(every for until, every in KEEP if age <= until)
    server.unsaved()


def watch_after_a_day(arguments: list[str]) -> None:
    """`spectui watch`, whose servers have been watched for a day when it begins."""
    begin = LiveFleet.__enter__

    def enter(fleet: LiveFleet) -> LiveFleet:
        for server in fleet.servers:
            live_a_day(server, fleet.now())
        return begin(fleet)

    LiveFleet.__enter__ = enter  # type: ignore[method-assign]
    spectui(arguments)


def cost(urls: list[str], seconds: float, *, after_a_day: bool) -> tuple[float, float, float]:
    """Bytes a second, per cent of a core, MB."""
    with tempfile.TemporaryDirectory() as folder:
        program = ["-m", "tests.bench.watch_cost", AFTER_A_DAY] if after_a_day else ["-c", WATCH]
        argv = [sys.executable, *program, "watch", *urls, "--db", str(Path(folder, "w.db"))]
        terminal = Terminal(argv, columns=120, rows=40)
        try:
            terminal.wait_for("live" if len(urls) > 1 else "session #")
            time.sleep(WARM_S)
            process = psutil.Process(terminal.pid)
            before, begun = process.cpu_times(), time.monotonic()
            time.sleep(seconds)
            after, spent = process.cpu_times(), time.monotonic() - begun
            used = after.user + after.system - before.user - before.system
            return len(terminal.output(begun)) / spent, 100 * used / spent, process.memory_info().rss / 1e6
        finally:
            terminal.close()


def main(seconds: float) -> None:
    """Measure and print."""
    ports = range(18100, 18108)
    kinds = [f"{port}:vllm:{'plain' if port % 2 else 'eagle'}:3" for port in ports]
    rest = "18110:vllm:eagle:0"
    command = [sys.executable, "-m", "tests.servers.watch.fake", "--long", *kinds, rest]
    with subprocess.Popen(command) as servers:
        try:
            time.sleep(8.0)
            every = [f"http://127.0.0.1:{port}" for port in ports]
            for name, urls in (
                ("at rest", ["http://127.0.0.1:18110"]),
                ("live", every[:1]),
                ("eight live", every),
            ):
                for after_a_day in (False, True):
                    rate, cpu, memory = cost(urls, seconds, after_a_day=after_a_day)
                    when = " after a day" if after_a_day else ""
                    print(
                        f"{name}{when}: {rate:,.0f} bytes/s, {cpu:.1f} % of a core, {memory:.0f} MB",
                        flush=True,
                    )
        finally:
            servers.kill()


if __name__ == "__main__":
    if sys.argv[1:2] == [AFTER_A_DAY]:
        watch_after_a_day(sys.argv[2:])
    else:
        main(float(sys.argv[1]) if len(sys.argv) > 1 else 30.0)
