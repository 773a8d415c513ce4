"""The part that both screens of watched servers have: views from a feed, the window, holding the picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from spectui.servers.watch.fleet import Fleet
from spectui.servers.watch.server import WINDOWS, View, Watched
from spectui.tui.screens.base import FedScreen
from spectui.tui.watching.feed import Views, WatchFeed
from spectui.tui.watching.recorded import RecordedFleet


class WatchScreen(FedScreen):
    """Shows views; subclasses draw them in `draw_views`."""

    _feed: WatchFeed
    CSS_PATH = "watch.tcss"

    def __init__(self, database: Path, fleet: Fleet) -> None:
        self.fleet = fleet
        super().__init__(database)
        self.views: tuple[View, ...] = ()
        self.at = 0.0
        self.gpus: Sequence[Mapping[str, Any]] = ()
        """Of this machine."""
        self.held = False
        """True while the picture is held; recording goes on."""

    def make_feed(self, post: Callable[[object], None]) -> WatchFeed:
        """A feed of views of these servers."""
        return WatchFeed(self.database, self.fleet, post)

    def take(self, item: object) -> None:
        """Keep the views, unless the picture is held."""
        if isinstance(item, Views) and not (self.held and self.views):
            self.at, self.views, self.gpus = item.at, item.views, item.gpus

    def draw(self) -> None:
        """Draw the views."""
        if self.trouble:
            super().draw()
        if self.views:
            self.draw_views()

    def draw_views(self) -> None:
        """Draw the views."""
        raise NotImplementedError

    def server_of(self, url: str) -> Watched | None:
        """The server of an address."""
        return next((server for server in self.fleet.servers if server.url == url), None)

    @property
    def recorded(self) -> bool:
        """True for a recording, which nothing is asked for."""
        return isinstance(self.fleet, RecordedFleet)

    @property
    def past(self) -> bool:
        """True for a recording to which nothing is added any more."""
        return isinstance(self.fleet, RecordedFleet) and not self.fleet.live

    def recording_words(self, url: str = "") -> str:
        """The session that the samples go to, or come from: for the status."""
        if isinstance(self.fleet, RecordedFleet):
            name = self.fleet.names.get(url or self.fleet.opened, "")
            return f"recorded as {name}" if not self.fleet.live else f"being recorded as {name}"
        recorder = self.app.recorder
        if recorder is None:
            return ""
        if recorder.trouble:
            return recorder.trouble
        sessions = [n for server in self.fleet.servers if (n := recorder.session_of(server.url)) is not None]
        if url:
            session = recorder.session_of(url)
            return f"session #{session}" if session is not None else ""
        if not sessions:
            return ""
        span = f"#{min(sessions)}" + (f"-#{max(sessions)}" if len(sessions) > 1 else "")
        return f"recorded as {span}"

    def action_window(self) -> None:
        """Show figures of another stretch of time."""
        names = list(WINDOWS)
        name = names[(names.index(self._feed.window) + 1) % len(names)]
        self._feed.show(name, self._feed.columns)
        self.inform(f"Figures of: {name}", 2)

    def action_hold(self) -> None:
        """Hold the picture, or go on; recording goes on all the while."""
        self.held = not self.held
        self._feed.again()
        self.inform("Held; recording goes on." if self.held else "Going on.", 2)

    def choose_plain(self, url: str) -> None:
        """Hold a server against the next plain one, or against what suits it by itself."""
        server = self.server_of(url)
        if server is None:
            return
        choices = self.fleet.choices(server)
        if not choices:
            self.inform(
                "No other server here decodes plainly: watch one beside this, or restart this one without speculation."
            )
            return
        urls = [other.url for other in choices]
        now = self.fleet.chosen.get(url)
        place = urls.index(now) + 1 if now in urls else 0
        if place >= len(urls):
            self.fleet.chosen.pop(url, None)
            self.inform("Plain: what suits by itself.", 2)
        else:
            self.fleet.chosen[url] = urls[place]
            self.inform(f"Plain: {choices[place].name}", 2)
        self._feed.again()

    def action_leave(self) -> None:
        """Leave the dashboard; what was recorded stays."""
        self.app.leave([])
