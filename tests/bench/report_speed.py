"""Time and memory of a report on a session of a million nodes.

    python -m tests.bench.report_speed [--nodes 1000000] [--db FILE] [--runs 3]

The session is written once (some minutes; kept with --db) and is the study's: 200 prompts of four tasks, trees of 14
nodes. Each report, its import of scipy and its JSON included, is a process of its own, as a user's is.
"""

from __future__ import annotations

import argparse
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from spectui.store.database import connect
from spectui.store.reading.reader import Reader
from spectui.store.records import PromptRecord
from spectui.store.sessions import create_session
from spectui.store.writing.writer import SessionWriter
from tests.store.samples import FULL_3X2, make_round, random_path

TASKS = ("code", "math", "logic", "chat")
PROMPTS = 200
TEMPLATES = 500
"""Rounds that are made; the session repeats them in random order, numbered anew."""
CHILD = """
import resource, sys, time
begin = time.perf_counter()
from spectui.tui.cli import main
sys.stdout = open("/dev/null", "w")
main(["report", "last", "--json", "--db", sys.argv[1]], standalone_mode=False)
used = resource.getrusage(resource.RUSAGE_SELF)
print(time.perf_counter() - begin, used.ru_utime + used.ru_stime, used.ru_maxrss, file=sys.stderr)
"""


def make(path: Path, nodes: int) -> None:
    """Write the session."""
    rng = random.Random(1)
    made = [make_round(i, path=random_path(FULL_3X2, rng), seed=i) for i in range(TEMPLATES)]
    rounds = -(-nodes // (len(FULL_3X2) * PROMPTS))
    connection = connect(path)
    session = create_session(
        connection,
        config_json="{}",
        target="embedded",
        drafter="eagle",
        tree="full:3x2",
        prompts=[PromptRecord(f"p{i}", TASKS[i % len(TASKS)], f"prompt {i}") for i in range(PROMPTS)],
    )
    writer = SessionWriter(connection, session)
    writer.claim()
    for generation in writer.pending_generations():
        writer.start_generation(generation.id, 10)
        prefix = 10
        for number in range(1, rounds + 1):
            chosen = rng.choice(made)
            record = type(chosen)(**chosen.__dict__ | {"number": number, "prefix_length": prefix})
            writer.record_round(generation.id, record)
            prefix += record.accepted_length + 1
        writer.finish_generation(generation.id, "finished", output="done", finish_reason="length")
    writer.set_status("finished")
    connection.close()


def main() -> None:
    """Make the session where it is not there yet, report on it, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--nodes", type=int, default=1_000_000)
    parser.add_argument("--db", type=Path)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.db or Path(folder) / "million.db"
        if not path.exists():
            begin = time.perf_counter()
            make(path, arguments.nodes)
            print(f"written in {time.perf_counter() - begin:.0f} s")
        with Reader(path) as reader:
            summary = reader.session("last")
        seconds, busy, megabytes = [], [], []
        for _ in range(arguments.runs):
            done = subprocess.run(
                [sys.executable, "-c", CHILD, str(path)], capture_output=True, text=True, check=True
            )
            taken, computed, peak = map(float, done.stderr.split())
            seconds.append(taken)
            busy.append(computed)
            megabytes.append(peak * 1024 / 1e6)
        print(
            f"report of {summary.nodes:,} nodes, {summary.rounds:,} rounds, {summary.prompt_count} prompts:"
        )
        print(
            f"  {statistics.median(seconds):.1f} s (least {min(seconds):.1f}), of which computing"
            f" {statistics.median(busy):.1f} s; {max(megabytes):,.0f} MB at most"
        )


if __name__ == "__main__":
    main()
