"""Speed-ups of sessions beside the one that interleaving measures, on a machine that others use.

    python -m tests.bench.speedups [--sessions 4] [--per-task 20] [--bench-per-task 4] [--tokens 64]

Runs sessions of the embedded pair one after the other, then speculative and plain decoding in turn on prompts of the
same kinds (`spectui bench`), and prints each session's speed-up with its interval beside that. A session measures
plain decoding every ten seconds or so: shorter ones than a minute have too few measurements for an interval.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from spectui.store.reading.reader import Reader


def spectui(*words: object) -> str:
    """The text that a command prints."""
    command = [sys.executable, "-c", "from spectui.tui.cli import main; main()", *map(str, words)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def main() -> None:
    """Print the sessions and the bench."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sessions", type=int, default=4)
    parser.add_argument("--per-task", type=int, default=20)
    parser.add_argument("--bench-per-task", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--tree", default="dynamic:3x2")
    arguments = parser.parse_args()
    same = ("--max-new-tokens", arguments.tokens, "--tree", arguments.tree)
    with tempfile.TemporaryDirectory(prefix="spectui-speedups-") as folder:
        database = Path(folder) / "runs.db"
        for number in range(arguments.sessions):
            spectui(
                "--db",
                database,
                "run",
                "--headless",
                "--name",
                f"run-{number}",
                "--per-task",
                arguments.per_task,
                *same,
            )
        with Reader(database) as reader:
            sessions = [reader.session(f"run-{number}") for number in range(arguments.sessions)]
    bench: dict[str, Any] = json.loads(
        spectui("bench", "--no-dashboard", "--json", "--per-task", arguments.bench_per_task, *same)
    )
    low, high = bench["interval"]["ratio_vs_own_plain"] or bench["spread"]["ratio_vs_own_plain"]
    print(f"interleaved: {bench['ratio_vs_own_plain']:.2f} [{low:.2f}, {high:.2f}]")
    for each in sessions:
        between = each.speedup_range
        if each.speedup is None or between is None:
            print(f"{each.name}: not known ({each.baseline_count} measurements)")
            continue
        verdict = "overlaps" if between[0] <= high and low <= between[1] else "does not overlap"
        interval = f"[{between[0]:.2f}, {between[1]:.2f}]"
        print(f"{each.name}: {each.speedup:.2f} {interval}, {each.baseline_count} measurements, {verdict}")


if __name__ == "__main__":
    main()
