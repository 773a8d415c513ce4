"""Protects: real replicas decode what a plain run does, and a death among them loses and doubles nothing."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from spectui.decoding.replicas.pipes import PipeLink, Pipes
from spectui.decoding.replicas.transport import Answer
from spectui.store.device_class import read_class
from tests.decoding.replicas.content import content
from tests.decoding.worker.workers import Worked, make_model
from tests.waiting import until


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("replicas")
    make_model(folder / "tiny", endless=True)
    return folder


@pytest.fixture
def sessions(folder: Path) -> Iterator[list[Worked]]:
    """Sessions of one database, closed in the end."""
    opened: list[Worked] = []
    yield opened
    for each in opened:
        each.close()


def begin(sessions: list[Worked], folder: Path, name: str, **config: object) -> Worked:
    config = {"draft": str(folder / "tiny"), "tree": "full:2x2", "max_new_tokens": 24, **config}
    sessions.append(Worked(folder, folder / "tiny", name, **config))
    return sessions[-1]


def recorded(session: Worked) -> list[tuple[Any, ...]]:
    return content(session.reader, session.id)


def replicas(session: Worked) -> list[tuple[int, str | None]]:
    """Pid, and why it left."""
    return session.reader.fetch(
        "SELECT pid, reason FROM replica WHERE session_id = ? ORDER BY id", session.id
    )


def test_two_replicas_sample_what_one_process_samples(sessions: list[Worked], folder: Path) -> None:
    plain = begin(sessions, folder, "sampled plainly", temperature=0.8, top_p=0.9, seed=7)
    plain.work()
    assert plain.ended() == 0, plain.log_text()
    shared = begin(sessions, folder, "sampled by two", temperature=0.8, top_p=0.9, seed=7)
    shared.work(replicas=2, SPECTUI_RAY="0", OMP_NUM_THREADS="1")
    assert shared.ended() == 0, shared.log_text()
    assert recorded(shared) == recorded(plain)
    assert shared.problems() == []
    summary = shared.now()
    assert (summary.device, summary.tree, summary.drafter) == ("cpu", "full:2x2", plain.now().drafter)
    assert summary.tokenizer_id == plain.now().tokenizer_id
    assert summary.baseline_count >= 1
    owners = {g.replica_id for g in shared.reader.generations(shared.id)}
    rows = shared.reader.fetch(
        "SELECT id, device, machine, reason FROM replica WHERE session_id = ?", shared.id
    )
    # The second may still have been loading when the first had done everything.
    decoded = {row_id: row for row_id, *row in rows if row_id in owners}
    assert set(decoded) == owners
    assert {(device, reason) for device, _, reason in decoded.values()} == {("cpu", "the run ended")}
    assert {read_class(machine).threads for _, machine, _ in decoded.values()} == {1}


def test_a_killed_replica_and_a_killed_worker_cost_nothing_that_was_recorded(
    sessions: list[Worked], folder: Path
) -> None:
    plain = begin(sessions, folder, "plain", max_new_tokens=100)
    plain.work()
    assert plain.ended() == 0, plain.log_text()
    shared = begin(sessions, folder, "killed", max_new_tokens=100)
    shared.work(replicas=2, SPECTUI_RAY="0", OMP_NUM_THREADS="1")
    shared.until_rounds(5)
    shared.send("pause")  # so that it does not come to its end meanwhile
    until(lambda: shared.now().status == "paused" or not shared.alive, what=shared.log_text)
    first = next(pid for pid, reason in replicas(shared) if not reason)
    os.kill(first, signal.SIGKILL)
    until(lambda: len(replicas(shared)) >= 3 or not shared.alive, what=shared.log_text)
    assert dict(replicas(shared))[first] == "it was ended by signal 9"
    pids = [pid for pid, _ in replicas(shared)]
    os.kill(pids[-1], signal.SIGSTOP)  # it cannot notice that nobody is there any more
    shared.kill()
    until(lambda: not any(psutil.pid_exists(pid) for pid in pids), what=lambda: f"the end of {pids}")
    shared.work()  # without replicas
    assert shared.ended() == 0, shared.log_text()
    assert recorded(shared) == recorded(plain)
    assert shared.problems() == []
    assert all(reason for _, reason in replicas(shared))


def test_a_replica_that_is_stopped_stops_nobody_who_asks_it() -> None:
    """Of a long prompt its pipe takes 64 kB: a dispatcher that waited for the rest would look after no other."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.send_signal(signal.SIGSTOP)
        link, pipes, answers = PipeLink(process), Pipes([]), list[Answer]()
        pipes._links[link] = ""
        pipes._selector.register(link.answers, selectors.EVENT_READ, link)
        asking = threading.Thread(target=link.ask, args=("start", "x" * 1_000_000), daemon=True)
        asking.start()
        asking.join(5.0)
        if asking.is_alive():
            process.kill()
            pytest.fail("it waits for the replica")
        process.send_signal(signal.SIGCONT)
        while not answers:
            answers += pipes.wait(0.1)
        assert [(each.method, each.value) for each in answers] == [("start", ("x" * 1_000_000,))]
        pipes.close()
