"""A writer that waits for trouble to pass: a full disk, a lock, a file that was moved away.

Every method of `SessionWriter` is a transaction that wrote nothing when it fails, so that it can simply
be tried again.
"""

from __future__ import annotations

import functools
import itertools
import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from spectui.store.database import Connection, raw
from spectui.store.errors import LOCKED, DatabaseTrouble, StoreError
from spectui.store.files import private_file
from spectui.store.sources import WAITS
from spectui.store.writing.session_row import SessionRow
from spectui.store.writing.writer import SessionWriter

Result = TypeVar("Result")

FIRST_WAIT, LONGEST_WAIT = 0.1, 2.0
"""Seconds between attempts, doubling from the first to the last; a stop is checked for as often."""

PATIENCE = 24 * 3600.0
"""Seconds after which a run gives up: enough for its user to make room."""
PATIENCE_WITHOUT_FILE = 300.0
"""Seconds that a missing file may take to come back."""
PATIENCE_TO_CLAIM = 10.0
"""Seconds to wait when a session begins or resumes: it does not show that it waits, and cannot be stopped."""

log = logging.getLogger("spectui.worker")


class PatientWriter(SessionWriter):
    """A `SessionWriter` whose methods try again, while it shows as "paused", instead of failing at once.

    Also notices a file at `path` that is no longer the one being written, which SQLite does not. The reason of
    waiting is in the session's row, where that can be written, and always in the log. Methods raise `StoreError` when
    the trouble does not pass within ``SPECTUI_PATIENCE`` seconds, or when `wait`, which sleeps, returns True: the run
    is to end. `troubled` is called with the time (`time.perf_counter`) from which nothing can be written, and with
    None when it can again.
    """

    def __init__(
        self,
        db: Connection,
        session_id: int,
        path: Path,
        wait: Callable[[float], bool],
        troubled: Callable[[float | None], None] = lambda _since: None,
    ) -> None:
        self._path = path
        self._identity = _identity(path)
        self._wait = wait
        self._tell_troubled = troubled
        self.stop_seen = False
        """True when a stop ended the waiting."""
        self._claimed = False
        self._troubled_since: float | None = None
        self._trouble = ""
        self._status = "starting"
        self._stage: tuple[Any, ...] = ("",)
        super().__init__(db, session_id)

    def retry(self, attempt: Callable[[], Result]) -> Result:
        """Repeats `attempt` until it succeeds; returns its result."""
        pause = FIRST_WAIT
        begin = time.perf_counter()
        while True:
            try:
                self._look_for_the_file()
                result = attempt()
            except DatabaseTrouble as trouble:
                self._wait_out(trouble, pause, begin)
                pause = min(2 * pause, LONGEST_WAIT)
            else:
                if self._troubled_since is not None:
                    self._recover()
                return result

    def rescue(self) -> Path | None:
        """Copy the open database to a file beside its place, when it no longer has that place.

        None when there is no need, or no way.
        """
        if _identity(self._path) == self._identity:
            return None
        copy = None
        try:
            copy = self._new_file_beside()
            raw(self._connection).execute("VACUUM INTO ?", (str(copy),))
        except Exception as error:  # the run is failing as it is, and says why
            log.warning("what was recorded cannot be copied to a file beside %s: %s", self._path, error)
            if copy is not None:
                copy.unlink(missing_ok=True)
            return None
        return copy

    def _new_file_beside(self) -> Path:
        """An empty file that no other run on the same database took for its copy. Raises `OSError`."""
        for number in itertools.count(1):
            copy = self._path.with_name(f"{self._path.name}.rescued-{number}")
            with suppress(FileExistsError):
                os.close(private_file(copy))
                return copy
        raise AssertionError("unreachable: the numbers do not end")

    def _look_for_the_file(self) -> None:
        identity = _identity(self._path)
        if identity != self._identity:
            how = "is gone" if identity is None else "was replaced by another file"
            raise _Misplaced(f"database {self._path} {how}; put it back where it was")

    def _wait_out(self, trouble: DatabaseTrouble, pause: float, begin: float) -> None:
        now = time.perf_counter()
        if self._troubled_since is None:
            self._troubled_since = begin
            self._tell_troubled(begin)
        if str(trouble) != self._trouble:
            self._trouble = str(trouble)
            log.warning("%s; trying again", trouble)
        if self._claimed:
            self._show_trouble(trouble)
        most = _patience(trouble) if self._claimed else min(_patience(trouble), PATIENCE_TO_CLAIM)
        if now - self._troubled_since >= most:
            raise StoreError(f"{trouble} (gave up after {now - self._troubled_since:.0f} s)") from trouble
        if self._asked_to_stop(pause):
            self.stop_seen = True
            raise StoreError(f"{trouble} (asked to stop while waiting)") from trouble

    def _asked_to_stop(self, pause: float) -> bool:
        """Sleep; True when the run is to end, also by a stop that another process could write though we cannot."""
        if self._wait(pause):
            return True
        with suppress(StoreError):
            return self.stop_waits()
        return False

    def _show_trouble(self, trouble: DatabaseTrouble) -> None:
        """Write the trouble into the session's row, where that can be written although a round cannot."""
        if not isinstance(trouble, _Misplaced) and LOCKED not in str(trouble):
            with suppress(StoreError):
                SessionWriter.set_status(self, "paused")
                SessionWriter.set_stage(self, f"{WAITS}: {trouble}")

    def _recover(self) -> None:
        assert self._troubled_since is not None
        waited = time.perf_counter() - self._troubled_since
        log.warning("the database can be written again, after %.0f s", waited)
        with suppress(StoreError):
            SessionWriter.add_event(self, "database", f"waited {waited:.0f} s: {self._trouble}")
            SessionWriter.set_status(self, self._status)
            SessionWriter.set_stage(self, *self._stage)
            self._troubled_since, self._trouble = None, ""
            self._tell_troubled(None)

    def claim(
        self, pid: int | None = None, host: str | None = None, pid_created: float | None = None
    ) -> None:
        """As `SessionWriter.claim`, which is tried for `PATIENCE_TO_CLAIM` seconds."""
        self._claimed = False
        self.retry(lambda: SessionWriter.claim(self, pid, host, pid_created))
        self._claimed = True

    def set_status(self, status: str, *, error: str | None = None) -> None:
        """As `SessionWriter.set_status`; what a recovery goes back to."""
        self._status = status
        self.retry(lambda: SessionWriter.set_status(self, status, error=error))

    def set_stage(
        self, stage: str, done: float | None = None, total: float | None = None, unit: str = ""
    ) -> None:
        """As `SessionWriter.set_stage`; what a recovery goes back to."""
        self._stage = (stage, done, total, unit)
        self.retry(lambda: SessionWriter.set_stage(self, stage, done, total, unit))


class _Misplaced(DatabaseTrouble):
    """The file is not where it was."""


def _identity(path: Path) -> tuple[int, int] | None:
    """Identity of the file at `path`, which is never opened (see `store.database`)."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _patience(trouble: DatabaseTrouble) -> float:
    asked = os.environ.get("SPECTUI_PATIENCE", "")
    with suppress(ValueError):
        return float(asked)
    return PATIENCE_WITHOUT_FILE if isinstance(trouble, _Misplaced) else PATIENCE


def _retrying(name: str) -> Callable[..., Any]:
    method: Callable[..., Any] = getattr(SessionWriter, name)

    @functools.wraps(method)
    def waiting(self: PatientWriter, *args: Any, **options: Any) -> Any:
        return self.retry(lambda: method(self, *args, **options))

    return waiting


_AT_ONCE = {"heartbeat", "stop_waits"}
"""Methods that are not tried again: a heartbeat soon follows another, and waiting itself looks for a stop."""

for _name in {*vars(SessionRow), *vars(SessionWriter)} - {*vars(PatientWriter), *_AT_ONCE}:
    if not _name.startswith("_"):
        setattr(PatientWriter, _name, _retrying(_name))
