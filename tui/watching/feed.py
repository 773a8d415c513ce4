"""Views of watched servers for a screen: of pollers at work, or of a recording."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spectui.decoding.machine.gpu import MachineGpus
from spectui.servers.watch.fleet import Fleet
from spectui.servers.watch.server import View
from spectui.store.reading.reader import Reader
from spectui.tui.feeds.base import Feed
from spectui.tui.watching.recorded import RecordedFleet

POLL_S = 1.0


@dataclass(frozen=True)
class Views:
    """Every server at one moment."""

    at: float
    views: tuple[View, ...]
    gpus: Sequence[Mapping[str, Any]] = ()
    """Of this machine, where a server that is watched runs on it."""


class WatchFeed(Feed):
    """Makes views once a second, and at once when asked; a recording that is over makes them once."""

    def __init__(self, database: Path, fleet: Fleet, post: Callable[[object], None]) -> None:
        super().__init__(database, post)
        self.fleet = fleet
        self.window = "5 min"
        self.columns = 30
        """Stretches of a course."""
        self._shown = False
        self._gpus = MachineGpus()

    def period(self) -> float:
        """Once a second."""
        return POLL_S if self._shown else 0.05

    def show(self, window: str, columns: int) -> None:
        """Make views of this window from now on."""
        if (window, columns) != (self.window, self.columns):
            self.window, self.columns = window, columns
            self._shown = False
            self.ask()

    def again(self) -> None:
        """Make views anew: a choice has changed."""
        self._shown = False
        self.ask()

    def poll(self, reader: Reader, *, changed: bool) -> Iterable[object]:
        """The views, unless a recording has nothing new."""
        fleet = self.fleet
        if isinstance(fleet, RecordedFleet):
            if self._shown and not changed and not fleet.live:
                return ()
            if changed or not fleet.servers:
                fleet.load(reader)
        self._shown = True
        views = tuple(fleet.views(self.window, self.columns))
        return (Views(fleet.now(), views, self._local_gpus()),)

    def _local_gpus(self) -> Sequence[Mapping[str, Any]]:
        if isinstance(self.fleet, RecordedFleet):
            return ()
        from spectui.servers.address import is_local  # HTTP, which a recording is shown without

        return self._gpus.readings() if any(is_local(server.url) for server in self.fleet.servers) else ()
