"""Large sessions in the store: rate, size, and the cost of live histograms as history grows.

python -m tests.bench.scale [--nodes 100000 1000000 10000000]

The database lies in the folder given by TMPDIR. Prints one line a figure; exits with 1 when a histogram's read
takes more than twice as long at the largest as at the smallest, or a node more than `BYTES` bytes.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

from spectui.store.database import connect
from spectui.store.reading.reader import Reader
from spectui.store.writing.writer import SessionWriter
from tests.store.samples import FULL_3X2, make_session, random_rounds

PROMPTS = 200
TASKS = ("code", "math", "logic", "chat")
READS = 51
BYTES = 80
FLAT = 2.0

GPU_ROUNDS_PER_SECOND, GPU_NODES = 50, 60
"""The assumed rate of a fast GPU: a 7B target, a round every 20 ms, trees of 60 nodes."""
WEEK = 7 * 24 * 3600


def record(path: Path, nodes: int) -> tuple[int, float]:
    """Write a session of about so many nodes; returns its number of nodes, and the seconds that writing took."""
    connection = connect(path)
    writer = SessionWriter(
        connection, make_session(connection, [TASKS[i % len(TASKS)] for i in range(PROMPTS)])
    )
    writer.claim()
    each = max(nodes // len(FULL_3X2) // PROMPTS, 1)
    made = [random_rounds(each, seed=seed) for seed in range(len(TASKS))]
    begun = time.perf_counter()
    for generation in writer.pending_generations():
        writer.start_generation(generation.id, 40)
        for round_record in made[generation.position % len(TASKS)]:
            writer.record_round(generation.id, round_record)
        writer.finish_generation(generation.id, "finished", output="x" * 1000, finish_reason="length")
    took = time.perf_counter() - begun
    writer.set_status("finished")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return each * PROMPTS * len(FULL_3X2), took


def reading(path: Path) -> dict[str, float]:
    """Median milliseconds of the live screen's reads."""
    medians = {}
    with Reader(path) as reader:
        for name, read in (
            ("histograms", lambda: reader.figures(1)),
            ("session", lambda: reader.session(1)),
            ("intervals", lambda: reader.intervals(1)),
        ):
            times = []
            for _ in range(READS):
                start = time.perf_counter()
                read()
                times.append(1e3 * (time.perf_counter() - start))
            medians[name] = statistics.median(times)
    return medians


def main() -> int:
    """Record, read, extrapolate."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--nodes", type=int, nargs="+", default=[100_000, 1_000_000, 10_000_000])
    args = parser.parse_args()
    histograms, size, rate = [], 0.0, 0.0
    for asked in args.nodes:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "scale.db"
            nodes, took = record(path, asked)
            size, rate = path.stat().st_size / nodes, nodes / took
            times = reading(path)
            histograms.append(times["histograms"])
            print(
                f"{nodes:>12,} nodes: {rate:,.0f} nodes/s alone, {size:.1f} bytes/node; "
                + ", ".join(f"{name} {ms:.2f} ms" for name, ms in times.items()),
                flush=True,
            )
    growth = histograms[-1] / histograms[0]
    print(f"histograms at {args.nodes[-1]:,} nodes take {growth:.2f} times what they do at {args.nodes[0]:,}")
    asked_rate = GPU_ROUNDS_PER_SECOND * GPU_NODES
    week = asked_rate * WEEK
    print(
        f"extrapolated: a week of {GPU_ROUNDS_PER_SECOND} rounds/s of {GPU_NODES} nodes is {week / 1e9:.1f} billion"
        f" nodes and {week * size / 1e9:,.0f} GB, and takes {100 * asked_rate / rate:.0f} % of what"
        " the store takes here"
    )
    return 1 if growth > FLAT or size > BYTES else 0


if __name__ == "__main__":
    sys.exit(main())
