"""The cost of a start: help, opening a database, loading the embedded model, checking a database.

    python -m tests.bench.start_up [--repeat 5]

Prints medians. What the starts must not import is asserted by the tests; how long they take is read here.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from spectui.decoding.checkpoints import embedded
from spectui.store.database import connect


def _milliseconds(action: Callable[[], object], repeat: int) -> float:
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        action()
        times.append(1e3 * (time.perf_counter() - start))
    return median(times)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=5)
    repeat = parser.parse_args().repeat
    help_command = [sys.executable, "-m", "spectui.tui", "--help"]
    taken = _milliseconds(lambda: subprocess.run(help_command, capture_output=True), repeat)
    print(f"spectui --help        {taken:8.0f} ms")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "spectui.db"
        connect(path).close()
        print(f"open a database       {_milliseconds(lambda: connect(path).close(), repeat):8.2f} ms")
    from transformers import AutoModelForCausalLM

    load = lambda: AutoModelForCausalLM.from_pretrained(embedded.ensure(), dtype="auto")  # noqa: E731
    print(f"load the embedded one {_milliseconds(load, repeat):8.0f} ms")


if __name__ == "__main__":
    main()
