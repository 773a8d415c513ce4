"""Rate and size of recorded rounds, and the cost of a view's reads.

Run with ``python -m tests.bench.store_speed [rounds]``; prints one line a figure. The database lies in
the folder given by TMPDIR, so that the disk measured is the one that matters.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from spectui.store.care.check import check
from spectui.store.database import open_database
from spectui.store.reading.reader import Reader
from spectui.store.writing.writer import SessionWriter
from tests.store.samples import FULL_3X2, make_session, random_rounds

TASKS = ("code", "math", "logic", "chat")
PROMPTS = 40


def main() -> None:
    """Record, then read, and print what each took."""
    total = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speed.db"
        db = open_database(path)
        session_id = make_session(db, [TASKS[i % len(TASKS)] for i in range(PROMPTS)])
        writer = SessionWriter(db, session_id)
        writer.claim()
        db.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        empty = path.stat().st_size
        times = []
        for generation in writer.pending_generations():
            writer.start_generation(generation.id)
            for record in random_rounds(total // PROMPTS, seed=generation.id):
                start = time.perf_counter()
                writer.record_round(generation.id, record)
                times.append(1e3 * (time.perf_counter() - start))
            writer.finish_generation(generation.id, "finished", output="x" * 1000, finish_reason="length")
        db.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        nodes = len(times) * len(FULL_3X2)
        times.sort()
        print(
            f"record   {len(times)} rounds of {len(FULL_3X2)} nodes: {1e3 * len(times) / sum(times):,.0f} rounds/s"
        )
        print(
            f"         mean {statistics.fmean(times):.3f} ms, median {statistics.median(times):.3f} ms,"
            f" p99 {times[int(0.99 * len(times))]:.3f} ms, worst {times[-1]:.1f} ms"
        )
        print(f"size     {(path.stat().st_size - empty) / nodes:.1f} bytes/node")
        with Reader(path) as reader:
            generation_id = reader.generations(session_id, texts=False)[-1].id
            timed("changed", reader.changed)
            timed("figures", lambda: reader.figures(session_id))
            timed("session", lambda: reader.session(session_id))
            timed("intervals", lambda: reader.intervals(session_id))
            timed("rounds(20 newest)", lambda: reader.rounds(generation_id, after=total // PROMPTS - 20))
        start = time.perf_counter()
        problems = check(db)
        print(f"check    {nodes} nodes: {time.perf_counter() - start:.2f} s, {len(problems)} problems")
        db.close()


def timed(name: str, read: Callable[[], object]) -> None:
    """Median of twenty calls."""
    times = []
    for _ in range(20):
        start = time.perf_counter()
        read()
        times.append(1e3 * (time.perf_counter() - start))
    print(f"read     {name}: {statistics.median(times):.3f} ms")


if __name__ == "__main__":
    main()
