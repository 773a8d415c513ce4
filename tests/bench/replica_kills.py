"""Replicas, parts of Ray and workers of real runs, killed or frozen at random moments; all is checked each time.

python -m tests.bench.replica_kills [--kills 50] [--seed S]    with a Python that has Ray
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from spectui.decoding.config import RunConfig
from spectui.decoding.worker.launch import Replicas, launch_worker
from spectui.store.care.check import check
from spectui.store.database import connect
from spectui.store.reading.reader import Reader
from spectui.store.reading.replicas import replicas
from spectui.store.records import PromptRecord
from spectui.store.rows import SessionSummary
from spectui.store.sessions import create_session
from tests.decoding.replicas.content import content
from tests.decoding.worker.workers import TEXTS, make_model
from tests.waiting import until

TOKENS = 700
"""Of each prompt: some seconds of rounds."""
VICTIMS = ("replica", "frozen replica", "raylet", "gcs_server", "driver")
GONE_SECONDS = 120.0
"""Time in which all processes of a run have to be gone after it."""


@dataclass
class Killed:
    """One kill, and what came of it."""

    victim: str
    ended: str
    """Status of the session when its run was over."""
    seconds: float
    """From the kill to the end of the run."""
    gone: float
    """From that to the end of its last process."""


@dataclass
class Tally:
    """A series of kills."""

    kills: list[Killed] = field(default_factory=list)
    finished: int = 0
    problems: list[str] = field(default_factory=list)


class Session:
    """A session on replicas that is resumed after each kill until it is finished."""

    def __init__(self, folder: Path, name: str, *, prompts: int = 2, sampled: bool = False) -> None:
        self.database = folder / "runs.db"
        self.db = connect(self.database)
        config = RunConfig(
            target=str(folder / "tiny"), draft=str(folder / "tiny"), tree="full:2x2", max_new_tokens=TOKENS,
            temperature=0.8 if sampled else 0.0, top_p=0.9 if sampled else 1.0, seed=7,
        )  # fmt: skip
        self.id = create_session(
            self.db, name=name, config_json=config.to_json(), target="tiny", drafter="tiny", tree=config.tree,
            prompts=[PromptRecord(f"{task}-{i}", task, f"{text} {i}") for i in range(prompts)
                     for task, text in TEXTS],
        )  # fmt: skip
        self.reader = Reader(self.database)
        self.pid = 0
        self.seen: dict[int, psutil.Process] = {}
        """Every process of the run."""

    def work(self, count: int) -> None:
        """Start a worker, with so many replicas, or for 0 without."""
        self.pid = launch_worker(self.database, self.id, replicas=Replicas(str(count)) if count else None)
        self.seen = {self.pid: psutil.Process(self.pid)}
        until(lambda: self.now().pid == self.pid or not psutil.pid_exists(self.pid))

    def now(self) -> SessionSummary:
        return self.reader.session(self.id)

    def look(self) -> None:
        """Note the processes of the run."""
        with contextlib.suppress(psutil.Error):
            for each in self.seen[self.pid].children(recursive=True):
                self.seen[each.pid] = each

    def alive(self) -> list[psutil.Process]:
        """The processes of the run that are still there."""
        return [each for each in self.seen.values() if _runs(each)]

    def victims(self, kind: str) -> list[int]:
        """Pids of a kind."""
        self.look()
        if kind == "driver":
            return [self.pid]
        if kind.endswith("replica"):
            return [row.pid for row in replicas(self.reader, self.id) if row.at_work and row.pid]
        named = []
        for each in self.seen.values():
            with contextlib.suppress(psutil.Error):
                named += [each.pid] if each.name() == kind else []
        return named

    def close(self) -> None:
        self.reader.close()
        self.db.close()


def _runs(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


def kill_one(session: Session, victims: Sequence[str], rng: random.Random, tally: Tally) -> bool:
    """Start a run, kill something, and wait for its end; False when it was over before."""
    session.work(2)
    before = session.now().rounds
    target = before + rng.randrange(600)
    until(lambda: session.now().rounds >= target or not session.now().live, seconds=300)
    time.sleep(rng.random() * 0.05)
    victim = rng.choice(victims)
    pids = session.victims(victim)
    if not pids or not session.now().live:
        until(lambda: not session.now().live, seconds=600)
        return False
    begun = time.monotonic()
    with contextlib.suppress(ProcessLookupError):
        os.kill(rng.choice(pids), signal.SIGSTOP if victim.startswith("frozen") else signal.SIGKILL)

    def over() -> bool:
        session.look()
        return not session.now().live

    until(over, seconds=600, what=lambda: f"the end after {victim}: {session.now()}")
    ended = time.monotonic()
    status = session.now().status
    with contextlib.suppress(AssertionError):
        until(lambda: not session.alive(), seconds=GONE_SECONDS)
    gone = time.monotonic() - ended
    names = [f"{each.pid} {each.name()}" for each in session.alive()]
    for each in session.alive():
        each.kill()
    tally.kills.append(Killed(victim, status, ended - begun, gone))
    where = f"kill {len(tally.kills)} ({victim})"
    tally.problems += [f"{where}: still running: {name}" for name in names]
    tally.problems += [f"{where}: {problem}" for problem in check(session.db)]
    if status not in ("finished", "failed", "interrupted"):
        tally.problems.append(f"{where}: the session is {status}")
    return True


def series(folder: Path, kills: int, victims: Sequence[str], seed: int) -> Tally:
    """Kill again and again, of one session after the other, each in the end to come out as without kills."""
    make_model(folder / "tiny", endless=True)
    whole = Session(folder, "whole")
    whole.work(0)
    until(lambda: not whole.now().live, seconds=600)
    expected = content(whole.reader, whole.id)
    assert expected, whole.now()
    tally, rng = Tally(), random.Random(seed)
    session = Session(folder, "killed 0")
    while len(tally.kills) < kills:
        if kill_one(session, victims, rng, tally):
            last = tally.kills[-1]
            print(
                f"{len(tally.kills)}: {last.victim}: {last.ended} after {last.seconds:.1f} s, all gone after "
                f"{last.gone:.1f} s", flush=True,
            )  # fmt: skip
        if session.now().status == "finished":
            _finish(session, expected, tally)
            session = Session(folder, f"killed {len(tally.kills)}-{tally.finished}")
    while session.now().status != "finished":
        session.work(2)
        until(lambda: not session.now().live, seconds=600)
    _finish(session, expected, tally)
    return tally


def _finish(session: Session, expected: list[tuple[object, ...]], tally: Tally) -> None:
    tally.finished += 1
    if content(session.reader, session.id) != expected:
        tally.problems.append(f"session '{session.now().name}' came out otherwise than without kills")
    session.close()


def main() -> int:
    """Kill, print what came of it, and return 1 when anything was lost, doubled or left running."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=20261130)
    parser.add_argument("--victims", default=",".join(VICTIMS))
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    os.environ |= {"SPECTUI_LOGS": str(folder / "logs"), "SPECTUI_MEASURE": "0", "OMP_NUM_THREADS": "1"}
    try:
        tally = series(folder, args.kills, args.victims.split(","), args.seed)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    by_victim = collections.defaultdict(list)
    for kill in tally.kills:
        by_victim[kill.victim].append(kill)
    for victim, kills in by_victim.items():
        ended = dict(collections.Counter(kill.ended for kill in kills))
        print(
            f"{victim}: {len(kills)} kills, {ended}, over after at most {max(k.seconds for k in kills):.0f} s, all "
            f"gone after at most {max(k.gone for k in kills):.0f} s more"
        )
    for problem in tally.problems:
        print(problem)
    print(
        f"{len(tally.kills)} kills, {tally.finished} sessions finished as without kills, "
        f"{len(tally.problems)} problems"
    )
    return 1 if tally.problems else 0


if __name__ == "__main__":
    sys.exit(main())
