"""Single requests of a server's recording, followed from now on: those that we ask ourselves."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spectui.servers.recordings.files import Folder, size_of
from spectui.servers.recordings.joining import Begun, First, Happened, Joined, Joiner, Over
from spectui.servers.recordings.rows import Damaged, Stat, read_line

LOOK_S = 0.5
"""Between two looks for new files."""


class Following:
    """Reads what a folder's servers write from now on, and keeps it of requests that are named. For one thread."""

    def __init__(self, path: Path) -> None:
        self._folder = Folder(path)
        self._folder.look()
        for start in self._folder.starts.values():
            for stream in start.streams.values():
                stream.at = len(stream.tails) - 1
                stream.tails[-1].seek(size_of(stream.tails[-1].path))
        self._joiners: defaultdict[str, Joiner] = defaultdict(Joiner)
        self._looked_at = time.monotonic()
        self._names: dict[str, str] = {}
        """Server's id of a request -> its name here."""
        self._news: dict[str, list[Joined]] = {}
        self._starts: dict[str, str] = {}

    def follow(self, name: str) -> None:
        """Keep what is written of the request whose id holds this name."""
        self._news[name] = []

    def take(self, name: str) -> list[Joined]:
        """All that is new of a request."""
        self._read()
        news, self._news[name] = self._news.get(name, []), []
        return news

    def leave(self, name: str) -> None:
        """Keep nothing more of a request."""
        self._news.pop(name, None)
        self._starts.pop(name, None)

    def facts(self, name: str) -> Mapping[str, Any]:
        """The facts that the server of a request tells of itself; {} before it is seen."""
        start = self._folder.starts.get(self._starts.get(name, ""))
        return {} if start is None else start.facts

    def _read(self) -> None:
        now = time.monotonic()
        if now - self._looked_at >= LOOK_S:
            self._looked_at = now
            self._folder.look()
        for key, start in self._folder.starts.items():
            joiner, any_lines = self._joiners[key], False
            joiner.figures = start.has_figures
            for stream in start.streams.values():
                for line in stream.lines():
                    any_lines = True
                    self._take(key, joiner, line, now)
            if not any_lines:
                for item in joiner.settle(now):
                    self._keep(key, item)

    def _take(self, key: str, joiner: Joiner, line: bytes, now: float) -> None:
        try:
            rows = read_line(line)
        except Damaged:  # also the rest of a line that was cut by where we began
            return
        for row in rows:
            if not isinstance(row, Stat):
                for item in joiner.feed(row, now):
                    self._keep(key, item)

    def _keep(self, key: str, item: Joined) -> None:
        if isinstance(item, Begun):
            request = item.request.id
            name = next((name for name in self._news if name in request), None)
            if name is None:
                return
            self._names[request] = name
            self._starts[name] = key
        else:
            assert isinstance(item, First | Happened | Over)
            request = item.id
        if (name := self._names.get(request)) is not None and name in self._news:
            self._news[name].append(item)
        if isinstance(item, Over):
            self._names.pop(request, None)
