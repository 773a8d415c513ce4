"""A dashboard in a real terminal (a pty): what it writes, when, and what keys make of it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from tests.waiting import until

DASHBOARD = "import sys; from pathlib import Path; from spectui.tui.app import run_dashboard; "
DASHBOARD += "sys.exit(run_dashboard(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None))"


class Terminal:
    """A child process on its own pty; a thread reads whatever it writes."""

    def __init__(
        self, argv: list[str], *, columns: int, rows: int, env: dict[str, str] | None = None
    ) -> None:
        self.started = time.monotonic()
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            environment = {
                k: v
                for k, v in os.environ.items()
                if not k.startswith(("TEXTUAL_THEME", "COLORTERM", "NO_COLOR"))
            }
            environment |= {"TERM": "xterm-256color", "COLUMNS": "", "LINES": ""} | (env or {})
            for name in [n for n, v in environment.items() if v == ""]:
                del environment[name]
            os.execvpe(argv[0], argv, environment)
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self._lock = threading.Lock()
        self._chunks: list[tuple[float, bytes]] = []
        self._ended = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.status: int | None = None

    def _read(self) -> None:
        while True:
            try:
                select.select([self._fd], [], [])
                data = os.read(self._fd, 65536)
            except OSError:
                data = b""
            if not data:
                self._ended.set()
                return
            with self._lock:
                self._chunks.append((time.monotonic(), data))

    def output(self, since: float = 0.0) -> bytes:
        """Everything written since a time of `time.monotonic()`."""
        with self._lock:
            return b"".join(data for when, data in self._chunks if when >= since)

    def forget(self) -> None:
        """Drop what was written so far: hours of it would fill the memory."""
        with self._lock:
            del self._chunks[:-1]

    def last_write(self) -> float:
        """The time at which something was last written."""
        with self._lock:
            return self._chunks[-1][0] if self._chunks else self.started

    def time_of(self, text: str, *, since: float) -> float | None:
        """The time at which `text` was first written after `since`; None when it was not."""
        written = b""
        with self._lock:
            for when, data in self._chunks:
                if when >= since:
                    written += data
                    if text.encode() in written:
                        return when
        return None

    def press(self, keys: str) -> float:
        """Type; returns when."""
        when = time.monotonic()
        os.write(self._fd, keys.encode())
        return when

    def wait_for(self, text: str, *, since: float = 0.0, seconds: float = 30.0) -> None:
        """Until `text` has been written."""
        until(lambda: text.encode() in self.output(since), seconds=seconds, what=lambda: repr(text))

    def hang_up(self) -> None:
        """Close the terminal, as a dropped line does."""
        os.close(self._fd)

    def wait(self, seconds: float = 20.0) -> int:
        """Until the process has ended; returns its status as `os.waitstatus_to_exitcode` gives it."""

        def ended() -> bool:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
            return bool(pid)

        if self.status is None:
            until(ended, seconds=seconds, what=lambda: "the dashboard to end")
        assert self.status is not None
        return self.status

    def close(self) -> None:
        """End the process, whatever it does."""
        if self.status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            self.wait()
        with contextlib.suppress(OSError):
            os.close(self._fd)


@contextlib.contextmanager
def dashboard(
    database: Path,
    session: int | None = None,
    *,
    columns: int = 120,
    rows: int = 40,
    env: dict[str, str] | None = None,
    under: tuple[str, ...] = (),
) -> Iterator[Terminal]:
    """The real dashboard in a terminal of that size, started by the command `under` where one is given."""
    argv = [*under, sys.executable, "-c", DASHBOARD, str(database), *([str(session)] if session else [])]
    terminal = Terminal(argv, columns=columns, rows=rows, env=env)
    try:
        yield terminal
    finally:
        terminal.close()
