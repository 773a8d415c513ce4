"""A thread that reads the database for a screen, so that drawing never waits for a disk.

It owns its reader (SQLite connections stay in their thread), asks the cheap question "anything new?"
several times a second, and posts what it read as frozen values. One post is in flight at a time: a
screen that is slow to draw makes the next one larger, never the queue longer.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from spectui.store.errors import StoreError
from spectui.store.reading.reader import Reader

LIVE_SECONDS = 0.2
"""Between two looks while a worker is writing."""
SHARED_SECONDS = 0.35
"""The same where the model is on the CPU: its threads wait for each other, so that each look, small as it is,
stops all of them."""
IDLE_SECONDS = 1.0
"""Between two looks when nobody is."""
CHART_SECONDS = 1.0
"""Least time between two readings of figures; charts gain nothing from more."""
PRESENCE_SECONDS = 2.0
"""Between two looks for a silent worker: its death writes nothing."""


_least = 0.0
"""Seconds between two looks, at least; for a terminal that is drawn seldom."""


def set_frame_rate(fps: int | None) -> None:
    """Read at most so many times a second; None: as often as each feed wants."""
    global _least
    _least = 1.0 / fps if fps else 0.0


@dataclass(frozen=True)
class Trouble:
    """The database could not be read; the next look may succeed."""

    message: str


class Feed:
    """The thread that reads. Subclasses implement `poll`."""

    def __init__(self, database: Path, post: Callable[[object], None]) -> None:
        self.database = database
        self._post = post
        self._wake = threading.Condition()
        self._stopped = False
        self._paused = False
        self._asked = False
        self._in_flight = False
        """Something is being read, or was posted and not shown yet."""
        self._troubled = False
        self._thread: threading.Thread | None = None
        self._looking = threading.Lock()
        self._requests: deque[Callable[[Reader], object]] = deque()

    def start(self) -> None:
        """Begin reading. The thread is a daemon: it never keeps the process alive."""
        self._thread = threading.Thread(target=self._run, name=type(self).__name__, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End for good, soon."""
        with self._wake:
            self._stopped = True
            self._wake.notify()

    def pause(self, paused: bool) -> None:
        """Rest while the screen is out of sight."""
        with self._wake:
            self._paused = paused
            self._asked = True
            self._wake.notify()

    @contextmanager
    def resting(self, seconds: float = 2.0) -> Iterator[None]:
        """A context in which nothing is read, unless a read takes longer than `seconds` to end.

        A process that is stopped within a read keeps that state of the file, and the log from being cut back.
        """
        rests = self._looking.acquire(timeout=seconds)
        try:
            yield
        finally:
            if rests:
                self._looking.release()

    def confirm(self) -> None:
        """Note that the screen has shown the last post."""
        with self._wake:
            self._in_flight = False
            self._wake.notify()

    def ask(self) -> None:
        """Read at once: something was requested."""
        with self._wake:
            self._asked = True
            self._wake.notify()

    def request(self, action: Callable[[Reader], object]) -> None:
        """Have the feed's thread do something at its next look, which is now."""
        self._requests.append(action)
        self.ask()

    def apply_requests(self, reader: Reader) -> bool:
        """Do what was requested since the last look; True when something was."""
        requested = bool(self._requests)
        while self._requests:
            self._requests.popleft()(reader)
        return requested

    def poll(self, reader: Reader, *, changed: bool) -> Iterable[object]:
        """Read what is new. `changed` is False when nothing was written since the last call."""
        raise NotImplementedError

    def period(self) -> float:
        """Seconds until the next look."""
        return IDLE_SECONDS

    def look(self, reader: Reader) -> tuple[object, ...]:
        """Everything that is new, or the trouble in reading it."""
        try:
            return tuple(self.poll(reader, changed=reader.changed()))
        except (StoreError, sqlite3.Error, OSError) as error:
            return (Trouble(str(error)),)
        except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError) as error:
            # Nothing that a database holds may end the dashboard.
            return (Trouble(f"the database holds what cannot be shown ({type(error).__name__}: {error})"),)

    def _run(self) -> None:
        reader: Reader | None = None
        while self._wait():
            try:
                if reader is None:
                    reader = Reader(self.database)
            except (StoreError, sqlite3.Error, OSError) as error:
                payload: tuple[object, ...] = (Trouble(str(error)),)
            else:
                with self._looking:
                    payload = self.look(reader)
            self._troubled = any(isinstance(item, Trouble) for item in payload)
            if payload:
                self._post(payload)
            else:
                self.confirm()
        if reader is not None:
            reader.close()

    def _wait(self) -> bool:
        """Sleep until the next look is due; False when the feed has been stopped."""
        # What cannot be read is no backlog to be hurried through.
        deadline = monotonic() + max(self.period(), _least, IDLE_SECONDS if self._troubled else 0.0)
        with self._wake:
            while not self._stopped:
                remaining = deadline - monotonic()
                ready = not self._in_flight and not self._paused
                if ready and (self._asked or remaining <= 0):
                    self._asked = False
                    self._in_flight = True
                    return True
                self._wake.wait(remaining if ready else None)
            return False
