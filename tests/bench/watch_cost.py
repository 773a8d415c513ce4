"""Bytes to the terminal and share of a core that `spectui watch` takes, at rest and under load.

    python -m tests.bench.watch_cost [SECONDS]

The servers are simulated vLLM ones in another process whose pages are as long as real ones (52 KB).
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from tests.tui.terminal.pty import Terminal

WATCH = "import sys; from spectui.tui.cli import main; main(sys.argv[1:])"
WARM_S = 15.0


def cost(urls: list[str], seconds: float) -> tuple[float, float, float]:
    """Bytes a second, per cent of a core, MB."""
    with tempfile.TemporaryDirectory() as folder:
        argv = [sys.executable, "-c", WATCH, "watch", *urls, "--db", str(Path(folder, "w.db"))]
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
                rate, cpu, memory = cost(urls, seconds)
                print(f"{name}: {rate:,.0f} bytes/s, {cpu:.1f} % of a core, {memory:.0f} MB", flush=True)
        finally:
            servers.kill()


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 30.0)
