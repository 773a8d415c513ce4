"""A thread that records what servers with our plugin write into a folder."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

from spectui.decoding.errors import UsageError, one_line
from spectui.servers.recordings.files import Folder
from spectui.servers.recordings.recording import Recording
from spectui.store.database import Connection, connect
from spectui.store.errors import StoreError

LOOK_S = 1.0
"""Between two looks for new files."""
IDLE_S = 0.1
"""Between two reads of files that had nothing new: their rows come every 50 ms."""
AGAIN_S = 5.0
"""Until it is tried again after a fault of the database or the folder."""


class Importer:
    """A context that records the servers of a folder while it lasts; `tell` gets a line when one is new."""

    def __init__(
        self,
        folder: Path,
        database: Path,
        *,
        tokenizer: Path | None = None,
        text: bool = True,
        tell: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._path, self._database = folder, database
        self._tokenizer, self._text = tokenizer, text
        self._tell = tell
        self._spoken: set[str] = set()
        self._recordings: dict[str, Recording] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="import", daemon=True)
        self.trouble = ""
        """The reason that nothing can be recorded now; "" while it can."""
        Folder(folder).look()  # a folder that cannot be read is said at once
        if tokenizer is not None:
            from spectui.servers.recordings.texts import find_texts

            find_texts("", tokenizer)

    def __enter__(self) -> Importer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join(10.0)

    @property
    def newest(self) -> int | None:
        """The session of the server that began last; None before any."""
        recordings = list(self._recordings.values())
        return max(recordings, key=lambda one: one.begun).session if recordings else None

    def import_all(self) -> list[int]:
        """Record all that is there, in this thread; returns the sessions. Raises `StoreError` or `UsageError`."""
        with closing(connect(self._database)) as db:
            folder = Folder(self._path)
            self._look(folder, db)
            try:
                while self._read():
                    pass
            finally:
                self._leave()
            self._tell_foreign(folder)
        return [recording.session for recording in self._recordings.values()]

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                with closing(connect(self._database)) as db:
                    self._follow(db)
            except (StoreError, UsageError, sqlite3.Error, OSError) as error:
                self.trouble = f"not recorded: {error}"
            except Exception as error:  # a thread's error would be lost
                self.trouble = f"not recorded: {one_line(error)}"
            # What was read and not recorded is read again: the database says where to go on.
            self._recordings.clear()
            self._stopped.wait(AGAIN_S if self.trouble else 0.0)

    def _follow(self, db: Connection) -> None:
        folder = Folder(self._path)
        looked_at = float("-inf")
        try:
            while not self._stopped.is_set():
                if time.monotonic() - looked_at >= LOOK_S:
                    self._look(folder, db)
                    self._tell_foreign(folder)
                    looked_at = time.monotonic()
                busy = self._read()
                self.trouble = ""
                if not busy:
                    self._stopped.wait(IDLE_S)
        except Exception as error:
            with suppress(StoreError, sqlite3.Error):
                self._leave(one_line(error))
            raise
        self._leave()

    def _read(self) -> bool:
        """Some of every recording; True while there may be more at once."""
        busy = [recording.read() for recording in self._recordings.values()]
        return any(busy)

    def _look(self, folder: Folder, db: Connection) -> None:
        for key in folder.look():
            if (recording := self._recordings.get(key)) is not None:
                recording.take_up_files()
                continue
            recording = Recording(db, folder.starts[key], self._tokenizer, text=self._text)
            try:
                recording.claim()
            except StoreError as error:
                recording.stopped = True
                self._say(f"not recorded here: {error}")
            self._recordings[key] = recording
            if not (recording.ended or recording.stopped):
                self._say(f"session {recording.session}: {recording.words}")

    def _leave(self, error: str | None = None) -> None:
        for recording in self._recordings.values():
            recording.leave(error)

    def _tell_foreign(self, folder: Folder) -> None:
        for words in folder.foreign.values():
            self._say(f"left out: {words}")

    def _say(self, words: str) -> None:
        if words not in self._spoken:
            self._spoken.add(words)
            self._tell(words)
