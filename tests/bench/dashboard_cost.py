"""The cost of the live screen at a replayed rate: bytes to the terminal, CPU, key to paint, start, memory.

python -m tests.bench.dashboard_cost [--rate 60] [--seconds 20] [--columns 120] [--rows 40]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from tests.tui.terminal.pty import Terminal, dashboard

STARTS = 9


def key_to_paint(terminal: Terminal, presses: int) -> list[float]:
    """Milliseconds from `x` to the paint that says that rejected drafts are hidden, while the run goes on."""
    out = []
    for index in range(presses):
        pressed = terminal.press("x")
        while (painted := terminal.time_of("hidden", since=pressed)) is None:
            time.sleep(0.0005)
        out.append((painted - pressed) * 1000)
        terminal.press("x")
        time.sleep(0.2 + 0.013 * (index % 7))
    return out


def first_screen(database: Path, session: int, columns: int, rows: int, term: str) -> float:
    """Seconds from the start of a dashboard until the session is on it."""
    with dashboard(database, session, columns=columns, rows=rows, env={"TERM": term}) as terminal:
        terminal.wait_for("accepted")
        at = terminal.time_of("accepted", since=0.0)
        assert at is not None
        return at - terminal.started


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rate", type=float, default=60.0)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--columns", type=int, default=120)
    parser.add_argument("--rows", type=int, default=40)
    parser.add_argument("--term", default="xterm-256color")
    parser.add_argument("--dump", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "replay.db"
        command = [sys.executable, "-m", "tests.tui.replay", "--db", str(database), "--rate", str(args.rate)]
        with subprocess.Popen([*command, "--prompts", "40"], stdout=subprocess.PIPE, text=True) as replay:
            assert replay.stdout is not None
            session = int(replay.stdout.readline().split()[0])
            with dashboard(
                database, session, columns=args.columns, rows=args.rows, env={"TERM": args.term}
            ) as terminal:
                terminal.wait_for("accepted")
                process = psutil.Process(terminal.pid)
                time.sleep(3)
                begun, cpu = time.monotonic(), sum(process.cpu_times()[:2])
                time.sleep(args.seconds)
                spent = time.monotonic() - begun
                busy = sum(process.cpu_times()[:2]) - cpu
                written = terminal.output(begun)
                keys = key_to_paint(terminal, 60)
                memory = process.memory_info().rss
            starts = [
                first_screen(database, session, args.columns, args.rows, args.term) for _ in range(STARTS)
            ]
            replay.kill()
    if args.dump:
        args.dump.write_bytes(written)
    print(
        json.dumps(
            {
                "bytes_per_second": round(len(written) / spent),
                "cpu_percent_of_a_core": round(100 * busy / spent, 1),
                "key_to_paint_ms": {
                    "median": round(statistics.median(keys), 1),
                    "p95": round(statistics.quantiles(keys, n=20)[18], 1),
                },
                "first_screen_s": {
                    "median": round(statistics.median(starts), 2),
                    "most": round(max(starts), 2),
                },
                "memory_mb": round(memory / 1e6),
            }
        )
    )


if __name__ == "__main__":
    main()
