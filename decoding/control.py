"""What the outside wants of a worker: commands from the database, SIGTERM, SIGINT, and its own limits."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType

from store.writer import SessionWriter

COMMAND_POLL_SECONDS = 0.1
"""How often a paused worker looks for commands; a running one looks between rounds."""

GRACE_SECONDS = 2.0
"""What a signal leaves the round in flight, or loading, to end; then it is broken off."""


class Stopped(BaseException):
    """A stop command, a signal or a limit asked the run to end.

    No `Exception`, because it may be raised anywhere, also in libraries that catch those.
    """


class LimitReached(Stopped):
    """One of the run's limits was reached; says which."""


class Skipped(Exception):  # noqa: N818 - nothing went wrong
    """A skip command asked for the next prompt."""


class Control:
    """Obeys signals and commands between rounds. Make it in the main thread."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._ended = False
        self._heard = False
        self.paused_seconds = 0.0
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._asked_to_stop)
        signal.signal(signal.SIGALRM, self._out_of_time)
        # The terminal that started the run may go; the run stays.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def listen(self, writer: SessionWriter) -> None:
        """Note whether commands wait for a `check`; called beside decoding, as each round is written."""
        self._heard = writer.commands_wait()

    def due(self) -> bool:
        """Whether there is anything to `check`: it looks at nothing but what `listen` and signals left."""
        return self._heard or self._stop.is_set()

    def check(self, writer: SessionWriter) -> None:
        """Obey what has come in; waits here while paused. Raises `Stopped` or `Skipped`."""
        paused_at: float | None = None
        skip = False
        while True:
            self._heard = False
            for kind in writer.take_commands():
                if kind == "stop":
                    self._stop.set()
                elif kind == "skip":
                    skip = True
                elif kind == "pause" and paused_at is None:
                    paused_at = time.perf_counter()
                    writer.set_status("paused")
                elif kind == "resume" and paused_at is not None:
                    writer.set_status("running")
                    self.paused_seconds += time.perf_counter() - paused_at
                    paused_at = None
            if self._stop.is_set():
                self.end()
                raise Stopped
            if skip:
                if paused_at is not None:
                    writer.set_status("running")
                    self.paused_seconds += time.perf_counter() - paused_at
                raise Skipped
            if paused_at is None:
                return
            self._stop.wait(COMMAND_POLL_SECONDS)

    def wait(self, seconds: float) -> bool:
        """Sleep, unless the run is to end; returns whether it is."""
        return self._stop.wait(seconds)

    def end(self) -> None:
        """The run is being closed: nothing breaks it off any more."""
        self._ended = True
        signal.setitimer(signal.ITIMER_REAL, 0)

    def _asked_to_stop(self, _number: int, _frame: FrameType | None) -> None:
        if not self._ended:
            self._stop.set()
            signal.setitimer(signal.ITIMER_REAL, GRACE_SECONDS)

    def _out_of_time(self, _number: int, _frame: FrameType | None) -> None:
        if not self._ended:
            self._ended = True
            raise Stopped
