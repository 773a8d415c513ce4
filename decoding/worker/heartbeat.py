"""Signs of life of a worker: a heartbeat every second, and the stage that loading has reached."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from spectui.decoding.machine.energy import EnergyMeter
from spectui.decoding.machine.gpu import Gpus
from spectui.store.database import connect
from spectui.store.writing.writer import SessionWriter

HEARTBEAT_SECONDS = 1.0
LOCK_SECONDS = 2.0
"""Longest wait of SQLite for another process's write: no signal is obeyed meanwhile."""
STAGE_SECONDS = 0.2
"""Progress of loading is written at most this often."""

log = logging.getLogger("spectui.worker")


@contextlib.contextmanager
def heartbeat(database: Path, session_id: int, recorder: SessionWriter | None = None) -> Iterator[None]:
    """Write every second, from a thread with its own connection, that the process lives, what it uses, and when
    `recorder` recorded a round last."""
    done = threading.Event()

    def beat() -> None:
        process = psutil.Process()
        process.cpu_percent()
        db: sqlite3.Connection | None = None
        writer: SessionWriter | None = None
        logged = ""
        gpus = Gpus()
        meter = EnergyMeter(gpus=gpus)
        while not done.wait(HEARTBEAT_SECONDS):
            try:
                # Here, so that a lock at the beginning costs a beat, too, and not all of them.
                db = db or connect(database, create=False, timeout=LOCK_SECONDS)
                writer = writer or SessionWriter(db, session_id)
                asked = None if recorder is None else recorder.usage
                used = process_usage(process, gpus, meter) if asked is None else asked()
                writer.heartbeat(*used, recorder.round_at if recorder else None)
                logged = ""
            except Exception as error:  # without heartbeats the run would be taken for dead
                if str(error) != logged:  # not once a second for a whole weekend
                    logged = str(error)
                    log.warning("heartbeat: %s", error)
        if db is not None:
            db.close()

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(timeout=5.0)


def process_usage(
    process: psutil.Process, gpus: Gpus, meter: EnergyMeter
) -> tuple[float | None, int | None, dict[str, Any] | None, tuple[float, float] | None]:
    """The arguments of `SessionWriter.heartbeat`; all None where they cannot be read, for the process lives anyway."""
    try:
        return process.cpu_percent(), process.memory_info().rss, gpus.readings(), meter.spent()
    except Exception as error:
        log.debug("what the worker uses is not known: %s", error)
        return None, None, None, None


class StageReporter:
    """Writes the stage that loading has reached, not more often than a view can show."""

    def __init__(self, writer: SessionWriter) -> None:
        self._writer = writer
        self._stage = ""
        self._written = 0.0

    def __call__(self, stage: str, done: float | None, total: float | None, unit: str) -> None:
        """See `decoding.models.load.Progress`."""
        now = time.monotonic()
        if stage != self._stage or now - self._written >= STAGE_SECONDS:
            self._stage, self._written = stage, now
            self._writer.set_stage(stage, done, total, unit)
