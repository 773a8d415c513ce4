"""Replicas that Ray starts: ``make test-ray`` makes an environment with Ray for it.

Protects: they decode what a plain run does; nothing listens beyond loopback, the token is nowhere to be read, no file
and no process stays; whatever is killed, no round is lost or doubled; a cluster of two nodes survives the loss of one.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest

from spectui.store.care.check import check
from tests.bench.replica_kills import VICTIMS, Session, series
from tests.decoding.replicas.content import content
from tests.decoding.replicas.ray_cluster import possible, two_nodes
from tests.decoding.worker.workers import make_model
from tests.waiting import until

needs_ray = pytest.mark.skipif(
    find_spec("ray") is None, reason="ray is not installed (extra ray): make test-ray"
)
pytestmark = [needs_ray, pytest.mark.timeout(900)]
LOOPBACK = ("127.0.0.1", "::1", "::ffff:127.0.0.1")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPECTUI_LOGS", str(tmp_path / "logs"))
    monkeypatch.setenv("SPECTUI_MEASURE", "0")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    make_model(tmp_path / "tiny", endless=True)
    return tmp_path


@pytest.fixture
def sessions(folder: Path) -> Iterator[list[Session]]:
    opened: list[Session] = []
    yield opened
    for session in opened:
        for process in session.alive():
            with contextlib.suppress(psutil.Error):
                process.kill()
        session.close()


def finished(session: Session) -> None:
    until(lambda: not session.now().live, seconds=600)
    assert session.now().status == "finished", session.now()


def listening(session: Session) -> set[str]:
    """Addresses on which processes of the run listen."""
    session.look()
    addresses = set()
    for process in session.alive():
        with contextlib.suppress(psutil.Error):
            addresses |= {
                c.laddr.ip for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN
            }
    return addresses


def test_a_run_on_ray_is_private_and_decodes_what_a_plain_run_does(
    folder: Path, sessions: list[Session]
) -> None:
    plain, shared = (Session(folder, name, sampled=True) for name in ("plain", "shared"))
    sessions += [plain, shared]
    plain.work(0)
    finished(plain)
    home = Path.home() / ".ray"
    had_token = home.exists()
    shared.work(2)
    until(lambda: shared.now().rounds > 0 or not shared.now().live, seconds=300)
    addresses = listening(shared)
    assert addresses
    assert {address for address in addresses if address not in LOOPBACK} == set()
    (own,) = Path("/tmp").glob(f"spectui-ray-{shared.pid}-*")
    assert own.stat().st_mode & 0o777 == 0o700
    actors = [p for p in shared.alive() if p.name().startswith("ray::")]
    # The title of a process may lie over its environment.
    tokens = {p.environ().get("RAY_AUTH_TOKEN", "") for p in actors} - {""}
    assert len(tokens) == 1
    token = tokens.pop()
    assert len(token) >= 32
    assert not any(token in " ".join(p.cmdline()) for p in shared.alive())
    assert {p.environ().get("RAY_USAGE_STATS_ENABLED") for p in actors} <= {"0", None}
    finished(shared)
    assert content(shared.reader, shared.id) == content(plain.reader, plain.id)
    assert check(shared.db) == []
    until(lambda: not shared.alive(), seconds=120)
    assert not own.exists()
    assert home.exists() == had_token
    # Neither the database nor any log has it.
    stored = b"".join(file.read_bytes() for file in folder.glob("runs.db*"))
    logged = b"".join(file.read_bytes() for file in (folder / "logs").glob("*"))
    assert token.encode() not in stored + logged


@pytest.mark.parametrize("victim", VICTIMS)
def test_whatever_is_killed_no_round_is_lost_or_doubled_and_nothing_stays(folder: Path, victim: str) -> None:
    tally = series(folder, 1, [victim], seed=len(victim))
    assert tally.problems == []
    assert tally.finished >= 1


def test_two_nodes_decode_a_session_and_one_of_them_is_killed(folder: Path, sessions: list[Session]) -> None:
    if reason := possible():
        pytest.skip(reason)
    plain, shared = (Session(folder, name) for name in ("plain", "shared"))
    sessions += [plain, shared]
    plain.work(0)
    finished(plain)
    with two_nodes() as cluster:
        command = [sys.executable, "-m", "spectui.decoding.replicas", "--db", str(shared.database), "--session",
                   str(shared.id), "--ray", cluster.address, "--log", str(folder / "worker.log")]  # fmt: skip
        worker = subprocess.Popen(
            [*cluster.within("first"), *command], env={**os.environ, **cluster.environment}
        )
        try:
            until(lambda: len(set(_owners(shared))) == 2 or worker.poll() is not None, seconds=300)
            assert worker.poll() is None, (folder / "worker.log").read_text()
            cluster.kill("second")
            until(lambda: worker.poll() is not None, seconds=600)
        finally:
            worker.kill()
            worker.wait()
    assert shared.now().status == "finished", shared.now()
    assert content(shared.reader, shared.id) == content(plain.reader, plain.id)
    assert check(shared.db) == []
    lost = [event.text for event in shared.reader.events(shared.id) if event.kind == "replica-lost"]
    assert len(lost) >= 1


def _owners(session: Session) -> list[int]:
    rows = session.reader.fetch(
        "SELECT replica_id FROM generation WHERE session_id = ? AND round_count > 0", session.id
    )
    return [row for (row,) in rows if row is not None]


def test_a_cluster_with_another_token_is_refused_in_a_line(folder: Path, sessions: list[Session]) -> None:
    if reason := possible():
        pytest.skip(reason)
    shared = Session(folder, "shared")
    sessions.append(shared)
    with two_nodes() as cluster:
        command = [sys.executable, "-m", "spectui.decoding.replicas", "--db", str(shared.database), "--session",
                   str(shared.id), "--ray", cluster.address, "--log", str(folder / "worker.log")]  # fmt: skip
        environment = {**os.environ, **cluster.environment, "RAY_AUTH_TOKEN": "0" * 64}
        done = subprocess.run([*cluster.within("first"), *command], env=environment, timeout=120)
    assert done.returncode == 1
    summary = shared.now()
    assert summary.status == "failed"
    assert (summary.error or "").startswith(f"--ray {cluster.address}: ")
    assert "\n" not in json.dumps(summary.error)
