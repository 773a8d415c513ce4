"""A session's row as its worker writes it (owner, status, progress, facts), and commands to the worker."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Mapping
from typing import Any

from spectui.store.clock import now
from spectui.store.database import Connection, raw
from spectui.store.errors import StoreError
from spectui.store.liveness import WORKER_COLUMNS, effective_status
from spectui.store.rows import LIVE_STATUSES, SESSION_STATUSES
from spectui.store.sqlite.log import LogKeeper
from spectui.store.sqlite.transactions import explained, path_of, transaction
from spectui.store.whereabouts import Whereabouts, identity, read_whereabouts, whereabouts
from spectui.store.writing.baselines import add_baseline, refresh
from spectui.store.writing.replicas import leave_all

Usage = Callable[[], tuple[float | None, int | None, dict[str, Any] | None, tuple[float, float] | None]]
"""Returns the arguments of `SessionRow.heartbeat`: CPU, memory, GPUs, energy."""


class SessionRow:
    """Writes the row of one session. May be used from several threads of the worker.

    Every method is a transaction of its own and raises `StoreError`, with nothing written, when the
    database is locked for too long, full, read-only or gone.
    """

    def __init__(self, db: Connection, session_id: int) -> None:
        self._connection = raw(db)
        self._session_id = session_id
        self._lock = threading.RLock()
        self._log = LogKeeper(path_of(self._connection))
        self.round_at: str | None = None
        """Time of the last recorded round."""
        self.usage: Usage | None = None
        """Says what the run uses, where that is more than this process."""
        self._read("SELECT id FROM session WHERE id = ? AND deleted_at IS NULL", session_id)

    def claim(
        self, pid: int | None = None, host: str | None = None, pid_created: float | None = None
    ) -> None:
        """Make a process (this one unless given) the session's worker.

        Commands meant for an earlier worker are dropped; what that one recorded stays as it is until
        `restart_unfinished`. Raises `StoreError` if another live worker has the session.
        """
        pid = os.getpid() if pid is None else pid
        host = socket.gethostname() if host is None else host
        pid_created = _creation_time(pid) if pid_created is None else pid_created
        path = path_of(self._connection)
        place = whereabouts(pid, path) if host == socket.gethostname() else Whereabouts()
        with self._lock, transaction(self._connection):
            name, status, *owner = self._read(
                f"SELECT name, status, {', '.join(WORKER_COLUMNS)} FROM session"
                " WHERE id = ? AND deleted_at IS NULL",
                self._session_id,
            )
            worker = dict(zip(WORKER_COLUMNS, owner, strict=True))
            known = read_whereabouts(worker["worker_place"])
            # Containers may share a host's name, and each numbers its processes from 1.
            ours = (worker["pid"], worker["host"]) == (pid, host) and known.same_process(place)
            if worker["pid"] is not None and not ours:
                status = effective_status(status, **worker, file=identity(path))
                if status in LIVE_STATUSES:
                    raise StoreError(
                        f"session '{name}' is {status}: process {worker['pid']} on {worker['host']} is at work on it"
                    )
            if worker["pid"] is not None:
                self._connection.execute(
                    "UPDATE command SET taken_at = ? WHERE session_id = ? AND taken_at IS NULL",
                    (now(), self._session_id),
                )
            self._connection.execute(
                "UPDATE session SET status = 'starting', pid = ?, pid_created = ?, host = ?, worker_place = ?,"
                " heartbeat_at = ?, started_at = coalesce(started_at, ?), ended_at = NULL, error = NULL WHERE id = ?",
                (
                    pid,
                    pid_created,
                    host,
                    place.to_json() if place.boot else "",
                    now(),
                    now(),
                    self._session_id,
                ),
            )
            leave_all(self._connection, self._session_id)

    def config_json(self) -> str:
        """The run's configuration as `create_session` was given it."""
        return str(self._read("SELECT config FROM session WHERE id = ?", self._session_id)[0])

    def set_status(self, status: str, *, error: str | None = None) -> None:
        """Write the session's status; one that is not live sets `ended_at`."""
        if status not in SESSION_STATUSES:
            raise ValueError(f"{status!r} is no status of a session")
        ended_at = None if status in LIVE_STATUSES else now()
        if ended_at is not None:
            with self._lock, transaction(self._connection):
                refresh(self._connection, self._session_id)
        rounds = {} if ended_at is None or self.round_at is None else {"round_at": self.round_at}
        self._update(status=status, error=error, ended_at=ended_at, **rounds)

    def set_stage(
        self, stage: str, done: float | None = None, total: float | None = None, unit: str = ""
    ) -> None:
        """Write the worker's activity and its progress."""
        self._update(stage=stage, stage_done=done, stage_total=total, stage_unit=unit)

    def heartbeat(
        self,
        cpu_percent: float | None,
        rss_bytes: int | None,
        gpu: Mapping[str, Any] | None = None,
        energy: tuple[float, float] | None = None,
        round_at: str | None = None,
    ) -> None:
        """Write a sign of life and the worker's usage; `energy` is the session's so far: joules and seconds.

        `round_at` is when a round was recorded last; None leaves what is known.
        """
        usage = None if gpu is None else json.dumps(dict(gpu))
        spent = {} if energy is None else {"energy_joules": energy[0], "energy_seconds": energy[1]}
        rounds = {} if round_at is None else {"round_at": round_at}
        self._update(
            heartbeat_at=now(), cpu_percent=cpu_percent, rss_bytes=rss_bytes, gpu=usage, **spent, **rounds
        )
        self._truncate_log()

    def describe(
        self,
        *,
        config_json: str | None = None,
        target: str | None = None,
        drafter: str | None = None,
        tree: str | None = None,
        device: str | None = None,
        tokenizer_id: str | None = None,
        versions: Mapping[str, str] | None = None,
        model_files: Mapping[str, Mapping[str, str]] | None = None,
        log_path: str | None = None,
        notes: str | None = None,
        costs_json: str | None = None,
        source: str | None = None,
        server_json: str | None = None,
        machine_json: str | None = None,
    ) -> None:
        """Write facts of the run that have become known; None leaves a column as it was."""
        columns = {
            "config": config_json,
            "target": target,
            "drafter": drafter,
            "tree": tree,
            "device": device,
            "tokenizer_id": tokenizer_id,
            "versions": None if versions is None else json.dumps(dict(versions)),
            "model_files": None if model_files is None else json.dumps(model_files),
            "log_path": log_path,
            "notes": notes,
            "costs": costs_json,
            "source": source,
            "server": server_json,
            "machine": machine_json,
        }
        self._update(**{name: value for name, value in columns.items() if value is not None})

    def add_baseline(
        self,
        ms_per_token: float,
        tokens: int,
        round_ms: float | None,
        replica_id: int | None = None,
        *,
        at: str | None = None,
    ) -> None:
        """Keep a measurement of plain decoding over so many tokens, beside rounds that took `round_ms`, if known."""
        with self._lock, transaction(self._connection):
            add_baseline(
                self._connection,
                self._session_id,
                ms_per_token,
                tokens,
                round_ms,
                at=at,
                replica_id=replica_id,
            )
            refresh(self._connection, self._session_id)

    def commands_wait(self) -> bool:
        """True when there are commands to take: a read of a few microseconds."""
        (waiting,) = self._read(
            "SELECT EXISTS (SELECT 1 FROM command WHERE session_id = ? AND taken_at IS NULL)",
            self._session_id,
        )
        return bool(waiting)

    def stop_waits(self) -> bool:
        """True when there is a stop to take."""
        sql = "SELECT EXISTS (SELECT 1 FROM command WHERE session_id = ? AND taken_at IS NULL AND kind = 'stop')"
        return bool(self._read(sql, self._session_id)[0])

    def take_commands(self) -> list[str]:
        """Commands not yet taken, oldest first; without any it only reads, a few microseconds."""
        with self._lock, explained(None, self._connection):
            rows = self._connection.execute(
                "SELECT id, kind FROM command WHERE session_id = ? AND taken_at IS NULL ORDER BY id",
                (self._session_id,),
            ).fetchall()
            if rows:
                with transaction(self._connection):
                    self._connection.executemany(
                        "UPDATE command SET taken_at = ? WHERE id = ?", [(now(), row[0]) for row in rows]
                    )
        return [kind for _, kind in rows]

    def _truncate_log(self) -> None:
        """Keep the write-ahead log small; call after a transaction."""
        with self._lock:
            self._log.truncate_if_large(self._connection)

    def _read(self, sql: str, *parameters: int | str) -> tuple[Any, ...]:
        with self._lock, explained(None, self._connection):
            row: tuple[Any, ...] | None = self._connection.execute(sql, parameters).fetchone()
        if row is None:
            raise StoreError(f"session {self._session_id} or its prompt is gone from the database")
        return row

    def _update(self, **columns: object) -> None:
        if not columns:
            return
        assignments = ", ".join(f"{name} = ?" for name in columns)
        values = [storable(value) if isinstance(value, str) else value for value in columns.values()]
        with self._lock, transaction(self._connection):
            changed = self._connection.execute(
                f"UPDATE session SET {assignments} WHERE id = ?", (*values, self._session_id)
            ).rowcount
            if not changed:
                raise StoreError(f"session {self._session_id} is gone from the database")


def storable(text: str) -> str:
    """`text` as SQLite takes it: undecodable bytes, as of a path, are written out."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _creation_time(pid: int) -> float | None:
    import psutil

    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return None
