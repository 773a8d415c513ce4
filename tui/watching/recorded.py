"""Watched servers as they were recorded: the same views, of the last moment or, while one goes on, of now."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from spectui.servers.watch.events import Event
from spectui.servers.watch.fleet import Fleet
from spectui.servers.watch.history import History
from spectui.servers.watch.payoff import Plain
from spectui.servers.watch.server import About, Watched
from spectui.store.errors import StoreError
from spectui.store.reading.reader import Reader
from spectui.store.reading.samples import plain_stretch, samples, watched_together
from spectui.store.sources import Server

REMEMBERED_S, REMEMBERED = 6 * 3600.0, 2000
"""Of an earlier watch's plain decoding the last hours are read, and as many samples."""
AGAIN_S = 3600.0
"""A watch that goes on is read anew so often: the recording thins with age, what was read of it does not."""


class RecordedFleet(Fleet):
    """The servers that were watched together with those of a session."""

    def __init__(self, session_id: int) -> None:
        super().__init__([])
        self.session_id = session_id
        self.names: dict[str, str] = {}
        """URL -> the name of its session."""
        self.live = False
        self._ids: list[int] = []
        self._read: dict[int, float] = {}
        self._whole_at: dict[int, float] = {}
        """Session -> time of its last sample when all of it was read."""

    def now(self) -> float:
        """The time of the last sample; of now while a watch goes on."""
        if self.live:
            return super().now()
        return max((last.at for server in self.servers if (last := server.history.last)), default=0.0)

    @property
    def opened(self) -> str:
        """The URL of the session that was asked for."""
        place = self._ids.index(self.session_id) if self.session_id in self._ids else 0
        return self.servers[place].url if self.servers else ""

    def load(self, reader: Reader) -> None:
        """Read what has been recorded since the last time. Raises `StoreError`."""
        if not self.servers:
            self._open(reader)
        self.live = False
        for session_id, server in zip(self._ids, self.servers, strict=True):
            summary = reader.session(session_id)
            self.live = self.live or summary.live
            self.names[server.url] = summary.name
            server.about = about_of(summary.server)
            read = self._read.get(session_id, 0.0)
            if read - self._whole_at.get(session_id, read) >= AGAIN_S:
                read, server.history = 0.0, History(thin=False)
            fresh = samples(reader, session_id, read)
            if fresh and not read:
                self._whole_at[session_id] = fresh[-1][1].at
            for _, sample in fresh:
                server.take(sample)
            if fresh:
                self._read[session_id] = fresh[-1][1].at
                server.unsaved()
                with server.lock:
                    server.events.clear()
                    server.events.extend(
                        Event(datetime.fromisoformat(row.at).timestamp(), row.kind, row.text)
                        for row in reader.events(session_id)
                    )

    def _open(self, reader: Reader) -> None:
        self._ids = watched_together(reader, self.session_id)
        for session_id in self._ids:
            summary = reader.session(session_id)
            url = summary.server.url if summary.server else summary.target
            name = url.partition("://")[2] or url
            watch = summary.config.get("watch")
            reference = isinstance(watch, dict) and watch.get("reference") is True
            self.servers.append(Watched(url, name, reference=reference, history=History(thin=False)))


def remembered_plains(database: Path, urls: Iterable[str]) -> dict[str, Plain]:
    """The latest plain decoding of these servers in the newest watch that saw any: URL -> plain."""
    plains: dict[str, Plain] = {}
    try:
        with Reader(database) as reader:
            for url in urls:
                stretch = plain_stretch(reader, url, REMEMBERED_S, REMEMBERED)
                if stretch is None:
                    continue
                server = Watched(url, f"session #{stretch[0]}", history=History(thin=False))
                for sample in stretch[1]:
                    server.take(sample)
                if (plain := server.plain()) is not None:
                    plains[url] = plain
    except StoreError:
        return plains  # there is none yet, or it is said when it is recorded to
    return plains


def about_of(server: Server | None) -> About:
    """The facts of a server as its session has them."""
    return About() if server is None else About(server.version, server.model, server.method)
