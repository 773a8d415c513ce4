"""The common part of all screens: a header above, keys below, panes that look alike, a feed that reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual.app import App
from textual.message import Message
from textual.screen import Screen

from spectui.store.rows import SessionSummary
from spectui.store.sources import WATCH
from spectui.tui.feeds.base import Feed, Trouble
from spectui.tui.memory import Memory
from spectui.tui.navigation import DESTINATIONS
from spectui.tui.settings import Settings
from spectui.tui.terminal.clipboard import copy
from spectui.tui.terminal.textsafe import sanitize, sanitize_line
from spectui.tui.widgets.rows import Line, Row

if TYPE_CHECKING:
    from spectui.tui.watching.recorder import Recorder


class Dashboard(App[None]):
    """The application as its screens know it: what they share, and the way from one to another."""

    database: Path
    settings: Settings
    memory: Memory
    left: bool
    """True once the dashboard is being left: keys typed ahead, and data read meanwhile, have no screen any more."""
    panes: dict[int, tuple[int, bool]]
    """Session -> the pane chosen in it, and whether it has the whole screen."""
    to_delete: dict[int, str]
    """Sessions, id -> name, that are deleted when the dashboard is left."""
    recorder: Recorder | None = None
    """Records the servers that are watched; None while none are."""

    def go(
        self, name: str, *arguments: Any, answer: Callable[[Any], None] | None = None, **options: Any
    ) -> None:
        """Open a screen of `navigation.DESTINATIONS` over the present one; `answer` is called with its result."""
        screen = DESTINATIONS[name].load()
        self.push_screen(screen(self.database, *arguments, **options), answer)

    def open_session(self, session_id: int, source: str) -> None:
        """Open a session in the screen that suits its source."""
        if source != WATCH:
            self.go("live", session_id)
            return
        from spectui.tui.watching.recorded import RecordedFleet

        self.go("watched", RecordedFleet(session_id))

    def go_home(self) -> None:
        """Go to the list of sessions: back to it, or to a new one when a session was opened first."""
        home = DESTINATIONS["sessions"].load()
        if any(isinstance(screen, home) for screen in self.screen_stack[:-1]):
            self.pop_screen()
        else:
            self.switch_screen(home(self.database))

    def leave(self, live: Sequence[SessionSummary]) -> None:
        """Leave; while these runs are at work, ask first whether they go on."""
        raise NotImplementedError


class Fed(Message):
    """The feed of a screen has read something."""

    def __init__(self, payload: tuple[object, ...]) -> None:
        super().__init__()
        self.payload = payload


class BaseScreen(Screen[None]):
    """A whole screen: ``#head`` above, ``#keys`` below, containers of the class ``pane`` between."""

    app: Dashboard
    DEFAULT_CSS = """
    BaseScreen { layout: vertical; }
    BaseScreen #head, BaseScreen #keys { height: 1; }
    BaseScreen .pane {
        border: round $faint;
        border-title-color: $muted;
        border-subtitle-color: $muted;
        padding: 0 1;
    }
    BaseScreen .pane:focus-within {
        border: round $border;
        border-title-color: $foreground;
        border-title-style: bold;
    }
    """

    def __init__(self, database: Path) -> None:
        super().__init__()
        self.database = database

    def running(self) -> Iterable[SessionSummary | None]:
        """The sessions on this screen that may be running: leaving asks whether they go on."""
        return ()

    def set_head(self, *cells: tuple[str, str]) -> None:
        """Write the header, after the program's name."""
        row: Row = ((" spectui  ", "accent"), *cells)
        self.query_one("#head", Line).set_rows([row])

    def inform(self, words: str, seconds: float = 4) -> None:
        """Show a notice for some seconds."""
        self.notify(sanitize_line(words), timeout=seconds, markup=False)

    def show_error(self, error: BaseException | str) -> None:
        """Show an error."""
        self.notify(sanitize(str(error)), severity="error", markup=False)

    def copy_text(self, text: str, empty: str = "There is nothing to copy yet.") -> None:
        """Copy a text, or say why there is none."""
        self.inform(copy(self.app, text) if text.strip() else empty)

    def action_leave(self) -> None:
        """Leave the dashboard."""
        self.app.leave([one for one in self.running() if one is not None and one.live and not one.of_clients])

    def action_back(self) -> None:
        """Go back to where this was opened."""
        self.workers.cancel_node(self)
        self.app.pop_screen()


class FedScreen(BaseScreen):
    """A screen whose feed reads while it is in sight; what has come is taken item by item, then drawn."""

    def __init__(self, database: Path) -> None:
        super().__init__(database)
        self.trouble = ""
        """The reason that the last reading failed, on one line; "" when it did not."""
        self._feed = self.make_feed(lambda payload: self.post_message(Fed(payload)))  # type: ignore[arg-type]

    def make_feed(self, post: Callable[[object], None]) -> Feed:
        """The feed that reads for this screen."""
        raise NotImplementedError

    def take(self, item: object) -> None:
        """Show one thing that was read."""
        raise NotImplementedError

    def draw(self) -> None:
        """Draw the parts that depend on several things read, and the error if reading failed."""
        if self.trouble:
            self.show_error(self.trouble)

    def resting(self) -> AbstractContextManager[None]:
        """A context in which nothing is read."""
        return self._feed.resting()

    def on_mount(self) -> None:
        """Start reading. Textual calls this after the `on_mount` of the screen itself."""
        self._feed.start()

    def on_unmount(self) -> None:
        """Stop reading."""
        self._feed.stop()

    def on_screen_suspend(self) -> None:
        """Stop reading while another screen covers this one."""
        self._feed.pause(True)

    def on_screen_resume(self) -> None:
        """Read again."""
        self._feed.pause(False)

    def on_fed(self, message: Fed) -> None:
        """Show what was read, then let the feed go on. A screen that is being taken down has no widgets left."""
        try:
            if self.app.left or not self.display:
                return
            self.trouble = ""
            for item in message.payload:
                if isinstance(item, Trouble):
                    self.trouble = sanitize_line(item.message)
                else:
                    self.take(item)
            self.draw()
        finally:
            self._feed.confirm()
