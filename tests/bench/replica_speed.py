"""One process, one replica and two on the same prompts, in turns: seconds of decoding, and of the whole run.

With or without Ray; wants a quiet machine.

python -m tests.bench.replica_speed [--per-task 8] [--tokens 64] [--pairs 3]
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from datetime import datetime
from pathlib import Path

from spectui.decoding.config import RunConfig
from spectui.decoding.worker.launch import Replicas
from spectui.prompts.loader import select
from spectui.store.care.check import check
from spectui.store.database import connect
from spectui.store.reading.reader import Reader
from spectui.tui.start import start_run
from tests.decoding.replicas.content import content
from tests.waiting import until

ARMS = (0, 1, 2)
"""Replicas; 0: a plain run."""


def run_once(
    database: Path, per_task: int, tokens: int, replicas: int, name: str
) -> tuple[int, float, float]:
    """The session, seconds from the first prompt's begin to the last one's end, and of the whole run."""
    config = RunConfig(tree="dynamic:8x4", max_new_tokens=tokens)
    begun = time.monotonic()
    session = start_run(
        database, config, select(None, None, per_task, lambda _: None), name,
        replicas=Replicas(str(replicas)) if replicas else None,
    )  # fmt: skip
    with Reader(database) as reader:
        until(lambda: not reader.session(session).live, seconds=1200)
        whole = time.monotonic() - begun
        assert reader.session(session).status == "finished", reader.session(session).error
        rows = reader.generations(session, texts=False)
    began = min(datetime.fromisoformat(row.started_at) for row in rows if row.started_at)
    ended = max(datetime.fromisoformat(row.ended_at) for row in rows if row.ended_at)
    return session, (ended - began).total_seconds(), whole


def main() -> None:
    """Print every run, and the medians of the ratios to the plain run beside it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--per-task", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--pairs", type=int, default=3)
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    os.environ |= {"SPECTUI_LOGS": str(folder / "logs"), "OMP_NUM_THREADS": "1"}
    ratios: dict[int, list[tuple[float, float]]] = {arm: [] for arm in ARMS[1:]}
    try:
        for pair in range(args.pairs):
            taken: dict[int, tuple[float, float]] = {}
            sessions = {}
            for arm in ARMS if pair % 2 == 0 else ARMS[::-1]:
                sessions[arm], *seconds = run_once(
                    folder / "runs.db", args.per_task, args.tokens, arm, f"pair {pair} of {arm}"
                )
                taken[arm] = (seconds[0], seconds[1])
                print(
                    f"{arm} replicas: {seconds[0]:.1f} s of decoding, {seconds[1]:.1f} s in all", flush=True
                )
            with Reader(folder / "runs.db") as reader:
                plain = content(reader, sessions[0])
                assert all(content(reader, sessions[arm]) == plain for arm in ARMS[1:]), "outputs differ"
            for arm in ratios:
                ratios[arm].append((taken[arm][0] / taken[0][0], taken[arm][1] / taken[0][1]))
        db = connect(folder / "runs.db")
        assert check(db) == []
        db.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for arm, each in ratios.items():
        decoding, whole = zip(*each, strict=True)
        print(
            f"{arm} replicas take {statistics.median(decoding):.2f} of one process ({min(decoding):.2f} to "
            f"{max(decoding):.2f}), of the whole run {statistics.median(whole):.2f}; all outputs are the same"
        )


if __name__ == "__main__":
    main()
