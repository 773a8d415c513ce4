"""The ways in which a run is paused or ended: commands from the database, signals, and its own limits."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType

from spectui.decoding.config import RunConfig
from spectui.decoding.worker.idle import IdleTime
from spectui.decoding.worker.run_writer import RunWriter

COMMAND_POLL_SECONDS = 0.1
"""Time between two looks for commands of a paused worker; a running one looks between rounds."""

GRACE_SECONDS = 2.0
"""Time that a signal leaves to the round in flight, or to loading; then it is broken off."""


class Stopped(BaseException):
    """A stop command, a signal or a limit asked the run to end.

    No `Exception`, because it may be raised anywhere, also in libraries that catch those.
    """


class LimitReached(Stopped):
    """One of the run's limits was reached; the message names it."""


class Skipped(Exception):  # noqa: N818 - nothing went wrong
    """A skip command asked for the next prompt."""


class Refused(Exception):  # noqa: N818
    """The session cannot go on as it began; the message says what differs."""


class Control:
    """Obeys signals and commands between rounds. Make it in the main thread, unless it is without `signals`."""

    def __init__(self, idle: IdleTime | None = None, *, signals: bool = True) -> None:
        self._stop = threading.Event()
        self._ended = False
        self._commands_waiting = False
        self.breaks_off = True
        """False where a signal sets the flag alone: whoever waits looks at it, and must not be interrupted."""
        self.idle = idle or IdleTime()
        if signals:
            self.hear_signals()

    def hear_signals(self) -> None:
        """Take the signals that end a run, also from a library that took them meanwhile."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_stop_signal)
        signal.signal(signal.SIGALRM, self._on_grace_over)
        # The terminal that started the run may go; the run stays.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def listen(self, writer: RunWriter) -> None:
        """Note whether commands are waiting for `check`; called as each round is written, beside decoding."""
        self._commands_waiting = writer.commands_wait()

    def due(self) -> bool:
        """True where there is anything to `check`, as far as `listen` and signals have noted; reads no database."""
        return self._commands_waiting or self._stop.is_set()

    def check(self, writer: RunWriter, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Obey the commands that have come in; waits while paused, and calls `meanwhile` again and again then.

        Raises `Stopped` or `Skipped`.
        """
        paused = skip = False
        while True:
            self._commands_waiting = False
            for kind in writer.take_commands():
                if kind == "stop":
                    self._stop.set()
                elif kind == "skip":
                    skip = True
                elif kind == "pause" and not paused:
                    paused = True
                    self.idle.hold("paused")
                    writer.set_status("paused")
                elif kind == "resume" and paused:
                    writer.set_status("running")
                    self.note_standstills(writer, "while the run was paused")
                    self.idle.release("paused")
                    paused = False
            if self._stop.is_set():
                self.end()
                raise Stopped
            if skip:
                if paused:
                    writer.set_status("running")
                    self.idle.release("paused")
                raise Skipped
            if not paused:
                return
            self.note_standstills(writer, "while the run was paused")
            meanwhile()
            self._stop.wait(COMMAND_POLL_SECONDS)

    @property
    def stopping(self) -> bool:
        """True where the run was asked to end."""
        return self._stop.is_set()

    def note_standstills(self, writer: RunWriter, where: str, generation_id: int | None = None) -> None:
        """Record the standstills noticed since the last call; `where` says during what."""
        for standstill in self.idle.take_standstills():
            writer.add_event("standstill", f"{standstill.text} {where}", generation_id)

    def wait(self, seconds: float) -> bool:
        """Sleep, unless the run is to end; returns whether it is to."""
        return self._stop.wait(seconds)

    def note_trouble(self, since: float | None) -> None:
        """Note that nothing can be written since then (`time.perf_counter`), or, for None, that writing works again."""
        if since is None:
            self.idle.release("writing")
        else:
            self.idle.hold("writing", since)

    def end(self) -> None:
        """Let no signal break off the run any more: it is being closed."""
        self._ended = True
        if threading.current_thread() is threading.main_thread():
            signal.setitimer(signal.ITIMER_REAL, 0)

    def _on_stop_signal(self, _number: int, _frame: FrameType | None) -> None:
        if not self._ended:
            self._stop.set()
            if self.breaks_off:
                signal.setitimer(signal.ITIMER_REAL, GRACE_SECONDS)

    def _on_grace_over(self, _number: int, _frame: FrameType | None) -> None:
        if not self._ended:
            self._ended = True
            raise Stopped


class Limits:
    """Time, nodes and tokens that one worker has used since it began to decode, against the limits of its run.

    A run that is resumed may use as much again.
    """

    def __init__(self, config: RunConfig, idle_seconds: float = 0.0) -> None:
        self._config = config
        self._idle = idle_seconds
        self._started = time.perf_counter()
        self._nodes = 0
        self._tokens = 0

    def count(self, nodes: int, tokens: int) -> None:
        """Count a round."""
        self._nodes += nodes
        self._tokens += tokens

    def reached(self, idle_seconds: float) -> str | None:
        """The limit that has been reached, as it was asked for; None while there is none. Idle time does not count."""
        config = self._config
        if config.max_nodes is not None and self._nodes >= config.max_nodes:
            return f"--max-nodes {config.max_nodes}"
        if config.max_tokens is not None and self._tokens >= config.max_tokens:
            return f"--max-tokens {config.max_tokens}"
        seconds = time.perf_counter() - self._started - (idle_seconds - self._idle)
        if config.max_seconds is not None and seconds >= config.max_seconds:
            return f"--max-time {config.max_seconds:g}s"
        return None
