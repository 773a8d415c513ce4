"""A bounded queue and one thread that writes it: nothing of it raises into the server or makes it wait."""

from __future__ import annotations

import atexit
import json
import logging
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from importlib import metadata
from typing import Any

from spectui.recorder.files import Files
from spectui.recorder.parts import Meter, Part
from spectui.recorder.settings import Settings

FORMAT = 1
POLL = 0.05
"""Seconds between two looks at the queue. Waking the thread for each row would each time hand it Python's lock."""
PORTION = 8
"""Rows that are written together; between portions the server's threads may go on."""
QUIET, OFTEN = 1.0, 10.0
"""Seconds without a row, and with rows, after which counts are written."""

Row = list[Any]


class Sink:
    """Rows of one role in this process, from the parts that belong to it."""

    def __init__(self, settings: Settings, role: str, server: str, log: logging.Logger) -> None:
        self.settings, self.role = settings, role
        self.parts: list[Part] = []
        self.unsampled = 0
        """Requests that were left out."""
        self._server, self._log = server, log
        self._header: dict[str, Any] = {}
        self._reset()
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        """Nothing is written yet in this process."""
        self.begun = False
        self.rows = self.dropped = 0
        self._queue: deque[tuple[Part, Row | Callable[[], Row | None]]] = deque()
        self._files = Files(self.settings, self.role, self._first_line)
        self._writer = Meter()
        self._spoken: set[str] = set()
        self._counted: tuple[int, ...] = ()
        self._ending = threading.Event()

    def part(self, name: str) -> Part:
        """A new part of the recorder that writes here."""
        part = Part(name, self._log)
        self.parts.append(part)
        return part

    def begin(self, header: dict[str, Any]) -> None:
        """Start to write, with what the server says of itself."""
        self.begun = True
        self._header = header
        self._thread = threading.Thread(target=self._run, name=f"spectui-{self.role}", daemon=True)
        self._thread.start()
        atexit.register(self.close)
        self._log.info("spectui records what this %s does into %s", self.role, self.settings.folder)

    def put(self, part: Part, row: Row | Callable[[], Row | None]) -> None:
        """Have a row written, or what a function makes of it in the writer's thread; drop it when too many wait."""
        if len(self._queue) >= self.settings.queue:
            self.dropped += 1
        else:
            self._queue.append((part, row))

    def close(self) -> None:
        """Write what waits; a second at most."""
        self._ending.set()
        self._thread.join(1)

    def _run(self) -> None:
        counted_at = rows_at = time.monotonic()
        while True:
            ended = self._ending.wait(POLL)
            now, waiting = time.monotonic(), len(self._queue)
            if waiting:
                rows_at, begun = now, time.thread_time()
                self._drain()
                self._writer.add(time.thread_time() - begun, waiting)
            counts = (self.rows, self.dropped, self.unsampled, *(part.errors for part in self.parts))
            lost = counts[1:] != self._counted[1:] and now - counted_at > QUIET
            due = now - counted_at > OFTEN or now - rows_at > QUIET or lost or ended
            if due and counts != self._counted:
                counted_at, self._counted = now, counts
                self._files.write([_line(["stat", self._counts()])], counts=True)
            if ended:
                return

    def _drain(self) -> None:
        while self._queue:
            lines = []
            for _ in range(min(PORTION, len(self._queue))):
                part, row = self._queue.popleft()
                line = part.call(_made, row)
                if line is not None:
                    lines.append(line)
            written = self._files.write(lines) if lines else 0
            self.rows += written
            self.dropped += len(lines) - written
            problem = self._files.problem
            if problem and problem not in self._spoken:
                self._spoken.add(problem)
                self._log.warning("spectui: %s; rows are dropped while that is so", problem)
            time.sleep(0)

    def _counts(self) -> dict[str, Any]:
        parts = self.parts
        times = {name: meter for part in parts for name, meter in part.meters.items()} | {
            "writer": self._writer
        }
        return {
            "t": time.time(),
            "rows": self.rows,
            "bytes": self._files.bytes,
            "dropped": self.dropped,
            "unsampled": self.unsampled,
            "errors": sum(part.errors for part in parts),
            "error": next((part.last_error for part in parts if part.last_error), None),
            "parts": {part.name: part.state for part in parts},
            "times": {name: meter.row() for name, meter in times.items() if meter.calls},
        }

    def _first_line(self, start: int, portion: int) -> bytes:
        about = {
            "format": FORMAT,
            "role": self.role,
            "pid": os.getpid(),
            "t": time.time(),
            "run": self.settings.run,
            "host": socket.gethostname(),
            "pids": _pid_space(),
            "start": start,
            "part": portion,
            "recorder": _version(),
            "server": self._server,
            "switches": self.settings.switches,
            "parts": {part.name: part.state for part in self.parts},
        }
        return _line(["meta", about | self._header])


def _pid_space() -> str:
    """The space that process numbers are of: a container has its own, perhaps under its host's name."""
    try:
        return os.readlink("/proc/self/ns/pid")  # noqa: PTH115
    except OSError:  # not Linux
        return ""


def _version() -> str | None:
    try:
        return metadata.version("spectui")
    except metadata.PackageNotFoundError:
        return None


def _made(row: Row | Callable[[], Row | None]) -> bytes | None:
    made = row() if callable(row) else row
    return None if made is None else _line(made)


def _line(row: Row) -> bytes:
    return json.dumps(row, separators=(",", ":")).encode() + b"\n"
