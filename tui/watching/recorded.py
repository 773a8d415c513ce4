"""Watched servers as they were recorded: the same views, of the last moment or, while one goes on, of now."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from spectui.servers.watch.events import Event
from spectui.servers.watch.fleet import Fleet
from spectui.servers.watch.payoff import Plain
from spectui.servers.watch.server import About, Watched
from spectui.store.errors import StoreError
from spectui.store.reading.reader import Reader
from spectui.store.reading.samples import plain_sessions, samples, watched_together
from spectui.store.sources import Server


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
            fresh = samples(reader, session_id, self._read.get(session_id, 0.0))
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
            self.servers.append(Watched(url, name, reference=reference))


def remembered_plains(database: Path, urls: Iterable[str]) -> dict[str, Plain]:
    """Plain decoding of these servers as the newest watch that saw it has it: URL -> plain."""
    plains: dict[str, Plain] = {}
    try:
        with Reader(database) as reader:
            for url in urls:
                for session_id in plain_sessions(reader, url):
                    server = Watched(url, url)
                    for _, sample in samples(reader, session_id):
                        server.take(sample)
                    if (plain := server.plain() or server.earlier_plain()) is not None:
                        plains[url] = Plain(f"session #{session_id}", plain.slices)
                        break
    except StoreError:
        return plains  # there is none yet, or it is said when it is recorded to
    return plains


def about_of(server: Server | None) -> About:
    """The facts of a server as its session has them."""
    return About() if server is None else About(server.version, server.model, server.method)
