"""Hours of a run in minutes: a worker's writer at the highest rate the store takes, and dashboards on it.

python -m tests.bench.soak [--minutes 30] [--dashboards 2] [--db FILE]

Prints one JSON object: nodes a second, the memory of the writing process and of each dashboard at eleven moments
and its slope, the largest write-ahead log, and whether every row that was written is there. Exits with 1 when
something grew or is missing.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import psutil

from spectui.decoding.config import RunConfig
from spectui.store.care.check import check
from spectui.store.database import connect
from spectui.store.reading.reader import Reader
from spectui.store.records import PromptRecord
from spectui.store.sessions import create_session
from spectui.store.writing.writer import SessionWriter
from tests.tui.synthetic import TEXTS, TOKENIZER, Vocabulary, rounds
from tests.tui.terminal.pty import dashboard

ROUNDS = 2048
"""Of each prompt: a second or less at this rate."""
PROMPTS_PER_SECOND = 8
"""More than are decoded."""
WAL_BOUND = 64 << 20
"""Bytes: four times what is written back at once (`store.sqlite.log`)."""
SUSPENDED = 5.0
"""Seconds after which whoever should have asked the clock was not running."""
SLOPE_BOUND = 0.5
"""MB a minute that a process may grow by, once warm; less than the noise of an allocator over minutes."""
WARM_MINUTES, WARM_SHARE = 6.0, 0.5
"""Left out of slopes, the shorter of the two: caches fill, the allocator finds its size, prompts become many."""


class Clock:
    """Seconds of being at work: those of a machine that sleeps, or of a soak that was suspended, do not count."""

    def __init__(self) -> None:
        self._at = time.monotonic()
        self.seconds = 0.0

    def __call__(self) -> float:
        """The seconds so far; to be asked every second or so."""
        now = time.monotonic()
        if now - self._at < SUSPENDED:
            self.seconds += now - self._at
        self._at = now
        return self.seconds


def write(path: Path, seconds: float) -> None:
    """The child: write rounds for so long; says how many."""
    vocabulary = Vocabulary()
    # Made before the clock starts: what is measured is the store, not how fast trees are made up.
    made = {
        task: list(itertools.islice(rounds(text, vocabulary, seed=seed), ROUNDS))
        for seed, (task, text) in enumerate(TEXTS.items())
    }
    tasks = itertools.cycle(TEXTS)
    count = 40 + int(PROMPTS_PER_SECOND * seconds)
    prompts = [PromptRecord(str(i), next(tasks), f"What about {i}?") for i in range(count)]
    db = connect(path)
    session = create_session(
        db, name="soak", config_json=RunConfig().to_json(), target="none", drafter="none", tree="full:3x2",
        prompts=prompts,
    )  # fmt: skip
    writer = SessionWriter(db, session)
    writer.claim()
    writer.add_tokens(TOKENIZER, vocabulary.table)
    writer.describe(device="cpu", tokenizer_id=TOKENIZER)
    writer.add_baseline(30.0, 1, 40.0)
    writer.set_status("running")
    print(session, flush=True)
    sys.stdin.readline()  # the dashboards are there
    clock, cpu = Clock(), time.process_time()
    beat = written = nodes = 0
    for generation in writer.pending_generations():
        writer.start_generation(generation.id, 40)
        for record in made[generation.task]:
            writer.record_round(generation.id, record)
            written += 1
            nodes += len(record.nodes)
            writer.take_commands()
            if clock() > beat:
                writer.heartbeat(100.0, psutil.Process().memory_info().rss)
                beat += 1
                if beat > seconds:
                    break
        writer.finish_generation(generation.id, "finished", output="text", finish_reason="length")
        if clock() > seconds:
            break
    spent = {"seconds": clock(), "cpu_seconds": time.process_time() - cpu}
    writer.set_status("finished")
    db.close()
    print(json.dumps({"rounds": written, "nodes": nodes, **spent}), flush=True)


def slope(samples: list[tuple[float, int]]) -> float:
    """MB a minute, by least squares, once warm."""
    times, sizes = np.array(samples).T
    warm = min(60 * WARM_MINUTES, WARM_SHARE * (times[-1] - times[0]))
    kept = times >= times[0] + warm
    return float(np.polyfit(times[kept] / 60, sizes[kept] / 1e6, 1)[0])


def course(samples: list[tuple[float, int]], points: int = 10) -> list[float]:
    """MB at so many moments, evenly spread: what the slope was taken from, to be looked at."""
    places = np.linspace(0, len(samples) - 1, points + 1).round().astype(int)
    return [round(samples[place][1] / 1e6, 1) for place in places]


def main() -> int:
    """Run, print, and judge."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--dashboards", type=int, default=2)
    parser.add_argument("--db", type=Path, help="Keep the database here.")
    parser.add_argument("--write", type=float, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.write is not None:
        write(args.db, args.write)
        return 0
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        path = args.db or Path(folder) / "soak.db"
        command = [
            sys.executable,
            "-m",
            "tests.bench.soak",
            "--db",
            str(path),
            "--write",
            str(args.minutes * 60),
        ]
        child = stack.enter_context(
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        )
        assert child.stdin is not None
        assert child.stdout is not None
        session = int(child.stdout.readline())
        terminals = [stack.enter_context(dashboard(path, session)) for _ in range(args.dashboards)]
        for terminal in terminals:
            terminal.wait_for("accepted")
        log = path.with_name(path.name + "-wal")
        processes = {"writer": psutil.Process(child.pid)}
        processes |= {f"dashboard {i + 1}": psutil.Process(t.pid) for i, t in enumerate(terminals)}
        memory: dict[str, list[tuple[float, int]]] = {name: [] for name in processes}
        largest = 0
        child.stdin.write("go\n")
        child.stdin.flush()
        clock, printed = Clock(), 0.0
        os.set_blocking(child.stdout.fileno(), False)
        while not (line := child.stdout.readline()):
            assert child.poll() is None
            largest = max(largest, log.stat().st_size if log.exists() else 0)
            for name, process in processes.items():
                memory[name].append((clock(), process.memory_info().rss))
            for terminal in terminals:
                terminal.forget()
            if clock() - printed > 60:
                printed = clock()
                sizes = ", ".join(f"{name} {samples[-1][1] / 1e6:.1f} MB" for name, samples in memory.items())
                print(f"{printed / 60:.0f} min: {sizes}, largest log {largest / 1e6:.1f} MB", file=sys.stderr)
            time.sleep(0.5)
        written = json.loads(line)
        alive = [psutil.Process(t.pid).status() != psutil.STATUS_ZOMBIE for t in terminals]
        with Reader(path) as reader:
            summary = reader.session(session)
        connection = connect(path)
        dropped = written["nodes"] - connection.execute("SELECT count(*) FROM node").fetchone()[0]
        problems = check(connection)
        connection.close()
        slopes = {name: round(slope(samples), 3) for name, samples in memory.items()}
        figures = {
            "nodes_per_second": round(written["nodes"] / written["seconds"]),
            "nodes_per_cpu_second_of_the_writer": round(written["nodes"] / written["cpu_seconds"]),
            "nodes": written["nodes"],
            "seconds": round(written["seconds"], 1),
            "memory_mb": {name: course(samples) for name, samples in memory.items()},
            "memory_slope_mb_per_minute": slopes,
            "largest_log_mb": round(largest / 1e6, 1),
            "database_mb": round(path.stat().st_size / 1e6),
            "bytes_per_node": round(path.stat().st_size / written["nodes"], 1),
            "rows_dropped": dropped + written["rounds"] - summary.rounds,
            "dashboards_alive": all(alive),
            "problems": problems,
        }
        print(json.dumps(figures, indent=2))
        bad = figures["rows_dropped"] or problems or largest > WAL_BOUND or not all(alive)
        return 1 if bad or max(slopes.values()) > SLOPE_BOUND else 0


if __name__ == "__main__":
    sys.exit(main())
