"""Bad input by the thousand: text, prompt files, configurations, trees, command rows, damaged databases.

python -m tests.bench.fuzz [--cases 20000] [--seed S]
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.run import fuzz


def main() -> int:
    """Fuzz and say how often; the first input that breaks something ends it with a traceback."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    args = parser.parse_args()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SPECTUI_LOGS"] = folder
        os.environ["SPECTUI_FUZZ"] = "1"
        total = fuzz(
            Path(folder), args.cases, args.seed, lambda name, n: print(f"{n:>7,} {name}", flush=True)
        )
    print(
        f"{total:,} cases with seed {args.seed} in {time.monotonic() - begun:.0f} s: no traceback, no escape byte"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
