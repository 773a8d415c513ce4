"""Rounds per second that one dispatcher takes and writes, with nobody decoding: how many GPUs one store feeds.

python -m tests.bench.dispatch_speed [--rounds 4000] [--replicas 8]
"""

from __future__ import annotations

import argparse
import pickle
import tempfile
import time
from pathlib import Path
from typing import Any

from spectui.decoding.config import RunConfig
from spectui.decoding.replicas.dispatch import Dispatcher
from spectui.decoding.replicas.outbox import Outbox
from spectui.decoding.replicas.transport import Answer
from spectui.decoding.worker.control import Limits
from spectui.store.database import connect
from spectui.store.writing.writer import PendingGeneration, SessionWriter
from tests.decoding.replicas import fakes
from tests.decoding.replicas.fakes import Clock, FakeRun, FakeTransport, Quiet
from tests.store.samples import FULL_3X2, make_session, random_rounds

FULL_5X2 = (None, None, *(parent for parent in range(30) for _ in range(2)))
"""Parents of a tree of 62 nodes."""
SHAPES: dict[str, Any] = {"14 nodes": FULL_3X2, "62 nodes": FULL_5X2}
GPU_ROUNDS = 50.0
"""Rounds per second of a fast GPU, by extrapolation (docs/experiments.md)."""
EACH = 200
"""Rounds of a prompt."""


class Pickling(FakeTransport):
    """Answers go through pickle, as they do from real replicas."""

    def wait(self, seconds: float) -> list[Answer]:
        answers = super().wait(seconds)
        return [
            Answer(a.link, a.method, pickle.loads(pickle.dumps(a.value)), a.error, a.lost) for a in answers
        ]


def rates(parents: tuple[int | None, ...], rounds: int, replicas: int) -> tuple[float, float]:
    """Rounds per second, and per second that this process computed, whatever else the machine does."""
    made = random_rounds(EACH, 1, parents)
    with tempfile.TemporaryDirectory() as folder:
        db = connect(Path(folder) / "runs.db")
        session = make_session(db, ["code", "math"] * max(rounds // EACH // 2, 1))
        writer = SessionWriter(db, session)
        writer.claim()
        transport = Pickling(replicas, Clock())

        def all_rounds(generation: PendingGeneration) -> list[Any]:
            return made

        transport.rounds = all_rounds
        dispatcher = Dispatcher(
            writer, Quiet(), Limits(RunConfig()), transport, FakeRun(writer), replicas, lambda *_: None
        )
        begun, computed = time.perf_counter(), time.process_time()
        dispatcher.decode()
        taken, took = time.perf_counter() - begun, time.process_time() - computed
        ((written,),) = db.execute("SELECT sum(round_count) FROM generation").fetchall()
        db.close()
    return float(written) / taken, float(written) / took


def beside_decoding(rounds: int) -> tuple[float, float]:
    """Microseconds of CPU for a round of 14 nodes where it is decoded: on a replica, and in a plain run."""
    made = random_rounds(rounds, 1)
    outbox = Outbox()
    outbox.begin(1)
    begun = time.thread_time()
    for number, each in enumerate(made):
        outbox.record_round(1, each)
        if number % 8 == 7:
            outbox.end()  # so that nothing more is waited for
            pickle.dumps(outbox.fetch(0.0))
    kept = time.thread_time() - begun
    with tempfile.TemporaryDirectory() as folder:
        db = connect(Path(folder) / "runs.db")
        writer = SessionWriter(db, make_session(db, ["code"]))
        writer.claim()
        generation = writer.pending_generations()[0]
        writer.start_generation(generation.id, 10)
        begun = time.thread_time()
        for each in made:
            writer.record_round(generation.id, each)
        written = time.thread_time() - begun
        db.close()
    return 1e6 * kept / rounds, 1e6 * written / rounds


def main() -> None:
    """Print the rates."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=4000)
    parser.add_argument("--replicas", type=int, default=8)
    args = parser.parse_args()
    kept, written = beside_decoding(min(args.rounds, 2000))
    print(f"beside decoding: {kept:.0f} us of CPU a round on a replica, {written:.0f} us in a plain run")
    fakes.A_BATCH = 8
    for name, parents in SHAPES.items():
        each, computed = rates(parents, args.rounds, args.replicas)
        print(
            f"{name}: {each:,.0f} rounds/s, {computed:,.0f} per second of CPU: {computed / GPU_ROUNDS:,.0f} GPUs of "
            f"{GPU_ROUNDS:.0f} rounds/s"
        )


if __name__ == "__main__":
    main()
