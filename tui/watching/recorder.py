"""Beside the pollers: records what they bring, looks for alerts, and writes the export, in a thread of its own."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from spectui.decoding.errors import one_line
from spectui.servers.watch.events import Event
from spectui.servers.watch.export import exposition
from spectui.servers.watch.fleet import Fleet
from spectui.servers.watch.payoff import Plain
from spectui.servers.watch.server import MOST_UNSAVED, View, Watched
from spectui.store.database import Connection, connect
from spectui.store.errors import StoreError
from spectui.store.files import write_text
from spectui.store.samples import Sample
from spectui.store.sources import Server
from spectui.store.writing.samples import KEEP_DAYS, SampleWriter, create_watch

SAVE_S = 5.0
"""Between two transactions: what a kill can lose."""
EXPORT_S = 5.0


@dataclass(frozen=True)
class Watching:
    """Servers that are watched, and what records them."""

    fleet: Fleet
    recorder: Recorder


class _Recording:
    """The session of one server, from its first sample on."""

    def __init__(self, server: Watched, group: str, keep_days: float) -> None:
        self.server, self._group, self._keep_days = server, group, keep_days
        self.session: int | None = None
        self._writer: SampleWriter | None = None
        self._described: tuple[Server, str] | None = None
        self._samples: deque[tuple[int, Sample]] = deque(maxlen=MOST_UNSAVED)
        self._events: deque[Event] = deque(maxlen=MOST_UNSAVED)

    def save(self, db: Connection) -> None:
        samples, events = self.server.unsaved()
        self._samples.extend(samples)
        self._events.extend(events)
        if not self._samples and self._writer is None:
            return  # nothing has answered yet
        about, drafts = self._describe()
        if self._writer is None:
            self._writer = self._begin(db, about)
        self._writer.add(list(self._samples), [(one.at, one.kind, one.text) for one in self._events])
        self._samples.clear()
        self._events.clear()
        if (about, drafts) != self._described:
            self._writer.describe_server(about, drafts)
            self._described = (about, drafts)

    def _begin(self, db: Connection, about: Server) -> SampleWriter:
        """The writer of the session, which is made once, whatever fails behind that."""
        if self.session is None:
            self.session = create_watch(db, about, self._group, plain=self.server.reference)
        writer = SampleWriter(db, self.session, self._keep_days)
        writer.claim()
        writer.set_status("running")
        return writer

    def _describe(self) -> tuple[Server, str]:
        view: View = self.server.brief()
        speculates = view.sample.speculative if view.sample else None
        method = view.about.drafter or (
            "speculation" if speculates else "plain" if speculates is False else ""
        )
        server = Server(view.engine or "other", self.server.url, view.model, view.about.version, method)
        return server, f"k {view.depth}" if view.depth else ""

    def end(self) -> None:
        if self._writer is not None:
            self._writer.set_status("finished")


class Recorder:
    """A context that records a fleet while it lasts; `on_turn` is called about once a second.

    `recall` brings the plain decoding of earlier watches; it is called once, in the recorder's thread.
    """

    def __init__(
        self,
        fleet: Fleet,
        database: Path | None,
        *,
        export: Path | None = None,
        keep_days: float = KEEP_DAYS,
        on_turn: Callable[[], None] = lambda: None,
        recall: Callable[[], dict[str, Plain]] = dict,
    ) -> None:
        self._fleet, self._database, self._export = fleet, database, export
        self._db: Connection | None = None
        """None until the database could be opened."""
        group = uuid4().hex
        self._recordings = [_Recording(server, group, keep_days) for server in fleet.servers]
        self._on_turn, self._recall = on_turn, recall
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="record", daemon=True)
        self.trouble = ""
        """The reason that nothing can be recorded or exported now; "" while it can."""

    def __enter__(self) -> Recorder:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join(10.0)

    def session_of(self, url: str) -> int | None:
        """The session that a server is recorded in; None before its first answer."""
        return next((one.session for one in self._recordings if one.server.url == url), None)

    def _run(self) -> None:
        try:
            self._fleet.remembered |= self._recall()
            self._turns()
        except Exception as error:  # a thread's error would be lost
            self.trouble = f"not recorded any more: {one_line(error)}"
        finally:
            if self._db is not None:
                self._db.close()

    def _turns(self) -> None:
        saved = exported = 0.0
        while True:
            last = self._stopped.wait(1.0)
            now = time.monotonic()
            self._fleet.look_for_alerts()
            trouble = ""
            if self._database is not None and (last or now - saved >= SAVE_S or not saved):
                saved = now
                trouble = self._saved(self._database, last=last)
            if self._export is not None and (last or now - exported >= EXPORT_S):
                exported = now
                trouble = self._exported() or trouble
            if saved == now or exported == now:
                self.trouble = trouble
            self._on_turn()
            if last:
                return

    def _saved(self, database: Path, *, last: bool) -> str:
        try:
            if self._db is None:
                self._db = connect(database)
            for recording in self._recordings:
                recording.save(self._db)
                if last:
                    recording.end()
        except (StoreError, sqlite3.Error, OSError) as error:
            return f"not recorded: {error}"
        return ""

    def _exported(self) -> str:
        assert self._export is not None
        try:
            write_text(self._export, exposition(self._fleet.views(columns=0)), public=True)
        except OSError as error:
            return f"not exported: {error.filename or self._export}: {error.strerror or error}"
        except StoreError as error:
            return f"not exported: {error}"
        return ""
