"""Starting of workers: each in a process and a process session of its own, so that a lost terminal never stops it."""

from __future__ import annotations

import hashlib
import os
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path

from spectui.decoding.errors import DecodingError
from spectui.decoding.processes import python, start
from spectui.store.files import private_folder
from spectui.store.paths import user_folder

MODEL_PROCESS = {
    "GOMP_SPINCOUNT": "100000",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(8 << 30),
    "MALLOC_TOP_PAD_": str(256 << 20),
}
"""Environment of processes that run models, set before they start: OpenMP and the allocator read it once.

A thread that waits for the others spins, by default for milliseconds. When other programs want the
cores, the thread that is waited for is not running, and spinning keeps it from running: with two busy
programs on two cores a forward took 2.3 times as long as with this shorter spin, which costs nothing
measurable on idle cores. Much shorter ones wake too late (1.4x on idle cores without any spin).

glibc gives every large intermediate back to the system and takes it anew: page faults were a third of the
time of a 256-row training step and are a twentieth of a round's. So it keeps what it has.
"""


def log_path(database: Path, session_id: int) -> Path:
    """The log of a session's worker, for what does not fit into a row: warnings and tracebacks.

    Its name has a digest of the database's path, for other folders may hold a database of the same name, and ids begin
    anew in each. `decoding.worker.log` keeps it from growing.
    """
    database = database.resolve()
    key = hashlib.sha256(os.fsencode(database)).hexdigest()[:8]
    return log_folder() / f"{database.stem[:40]}-{key}-{session_id}.log"


def log_folder() -> Path:
    """The folder of all logs, private to the user: ``SPECTUI_LOGS``, or the user's log directory."""
    return Path(os.environ.get("SPECTUI_LOGS") or user_folder("log", "SPECTUI_LOGS"))


ENGINE, SERVERS, REPLICAS = "spectui.decoding.worker", "spectui.servers.worker", "spectui.decoding.replicas"
"""Modules that run sessions: with spectui's own engine, with a server, and with replicas of the models."""


@dataclass(frozen=True)
class Replicas:
    """The replicas that a run asks for. They change nothing of its result, so that they are no part of its
    configuration: a session may go on with others, or without."""

    count: str = "auto"
    """A number, or as many as there is room for."""
    ray: str = ""
    """Address of a Ray cluster; "" for this machine."""

    @property
    def options(self) -> list[str]:
        """Their options on the worker's command line."""
        return ["--replicas", self.count, *(["--ray", self.ray] if self.ray else [])]


def launch_worker(
    database: Path,
    session_id: int,
    *,
    module: str = ENGINE,
    force: bool = False,
    replicas: Replicas | None = None,
) -> int:
    """Start the worker of a session that `store.sessions.create_session` made; returns its pid.

    `force` lets a session that was begun before go on with other model files or versions.
    Raises `DecodingError` when its log cannot be opened or the process cannot be started.
    """
    database = database.resolve()
    log = log_path(database, session_id)
    command = python("-m", REPLICAS if replicas else module, "--db", str(database))
    command += ["--session", str(session_id), "--log", str(log), *(["--force"] if force else [])]
    command += replicas.options if replicas else []
    try:
        private_folder(log.parent)
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    except OSError as error:
        raise DecodingError(
            f"the worker's log {log} cannot be written: {error.strerror}; set SPECTUI_LOGS"
        ) from error
    try:
        process = start(
            command,
            defaults=MODEL_PROCESS,
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            start_new_session=True,
        )
    except OSError as error:
        raise DecodingError(f"the worker cannot be started: {error.strerror}") from error
    finally:
        os.close(descriptor)
    # Collected when it ends: an uncollected child would look alive to anyone who checks its pid.
    threading.Thread(target=process.wait, name="collect-worker", daemon=True).start()
    return process.pid
