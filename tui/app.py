# ruff: noqa: E402
"""The dashboard: opens its first screen, themes, the command palette, and leaving."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

# Textual reads these once, when it is first imported: moving by whole rows and without animation sends
# a pane once. Its 60 frames a second stay, so that a key is answered within 50 ms; the feed, not the
# frame rate, decides how often something new is drawn.
for _name, _value in {"TEXTUAL_SMOOTH_SCROLL": "0", "TEXTUAL_ANIMATIONS": "none"}.items():
    os.environ.setdefault(_name, _value)

from rich.console import RenderableType
from textual import events
from textual.app import SystemCommand
from textual.filter import LineFilter
from textual.screen import Screen
from textual.theme import Theme

from spectui.store.database import connect
from spectui.store.errors import StoreError
from spectui.store.reading.reader import Reader
from spectui.store.rows import SessionSummary
from spectui.store.sqlite.interrupts import interrupt_reads
from spectui.tui.feeds.base import set_frame_rate
from spectui.tui.feeds.writes import delete_all, send
from spectui.tui.memory import Memory
from spectui.tui.navigation import DESTINATIONS, keymap
from spectui.tui.navigation.keymap import bindings
from spectui.tui.screens.base import Dashboard, FedScreen
from spectui.tui.screens.dialogs.leave import Choice, LeaveScreen
from spectui.tui.screens.help import HelpScreen
from spectui.tui.settings import Settings
from spectui.tui.terminal import glyphs
from spectui.tui.terminal.console_driver import ConsoleDriver, is_console, under_job_control
from spectui.tui.terminal.plain_output import PlainFilter, characters_of
from spectui.tui.terminal.textsafe import sanitize
from spectui.tui.terminal.theme import THEME_NAMES, default_theme, themes

if TYPE_CHECKING:
    from spectui.tui.watching.recorder import Watching


class SpectuiApp(Dashboard):
    """Opens the list of sessions, or one session when its id and source are given, or servers that are watched."""

    TITLE = "spectui"
    CSS = """
    Button { background: $surface; color: $foreground; text-style: none; }
    Button:hover { background: $mark; }
    Button:focus { background: $border; color: $background; text-style: bold; }
    Button:ansi:focus { background: $surface; color: $foreground; text-style: bold reverse; }
    """
    BINDINGS = bindings("app")

    def __init__(
        self,
        database: Path,
        session: int | None = None,
        source: str = "",
        *,
        settings: Settings | None = None,
        memory: Memory | None = None,
        watching: Watching | None = None,
    ) -> None:
        # Textual drops colours, rather than turning them grey, only where they are the terminal's own.
        super().__init__(
            driver_class=ConsoleDriver if is_console(os.environ) else None,
            ansi_color=True if "NO_COLOR" in os.environ else None,
        )
        self.database = database
        self.settings = settings or Settings()
        self.memory = memory or Memory()
        self.plain = PlainFilter(characters_of(self.settings.ascii, os.environ))
        self._session, self._source = session, source
        self._fleet = None if watching is None else watching.fleet
        self.recorder = None if watching is None else watching.recorder
        self._kept: set[int] = set()
        """Runs that go on when the dashboard is left, as the user said."""
        self.left = False
        self.panes = {}
        self.to_delete = {}
        for theme in themes():
            self.register_theme(theme)
        self._theme_key = ""
        self.theme = self._first_theme()

    @property
    def available_themes(self) -> dict[str, Theme]:
        """Ours alone: others would lack the roles that widgets ask for."""
        known = super().available_themes
        return {name: known[name] for name in THEME_NAMES if name in known} or known

    def on_mount(self) -> None:
        """Show the first screen."""
        interrupt_reads(False)
        if self._fleet is not None:
            self.go("fleet" if len(self._fleet.servers) > 1 else "watched", self._fleet)
        elif self._session is None:
            self.go("sessions")
            # What is likely to be opened next, once the list is there.
            self.set_timer(1.0, Thread(target=DESTINATIONS["live"].load, daemon=True).start)
        else:
            self.open_session(self._session, self._source)
        if not self.is_headless and os.isatty(0):
            self.set_interval(2.0, self._leave_a_lost_terminal)

    def _leave_a_lost_terminal(self) -> None:
        """End where the terminal has hung up and its signal did not come: it goes to the session's leader alone, and
        `make`, which waits for us, keeps it. What is left of the terminal reads as empty for ever, at full speed."""
        if not os.isatty(0):
            os.kill(os.getpid(), signal.SIGTERM)

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """The commands of the palette: every key that works on this screen, by name."""
        yield SystemCommand("Help", "Keys and words", self.action_help)
        for name in THEME_NAMES:
            yield SystemCommand(f"Theme: {name}", "Change the colours", partial(self.set_theme, name))
        for _, binding, _, _ in screen.active_bindings.values():
            if binding.description and binding.action and not binding.action.startswith("app."):
                yield SystemCommand(
                    binding.description,
                    f"Key {self.get_key_display(binding)}",
                    partial(self.call_later, screen.run_action, binding.action),
                )

    def _first_theme(self) -> str:
        """The theme of the settings, else the one chosen last on a terminal like this, else what suits it."""
        suited = default_theme(self.console.color_system, no_color=self.no_color)
        self._theme_key = f"theme on a {suited} terminal"
        if self.no_color:
            return suited
        chosen = self.settings.theme or self.memory.get(self._theme_key, str)
        return chosen if chosen in THEME_NAMES else suited

    def get_line_filters(self) -> Sequence[LineFilter]:
        """Textual's, and the one for terminals that lack characters."""
        return [*super().get_line_filters(), *([self.plain] if self.plain.enabled else [])]

    def set_theme(self, name: str) -> None:
        """Use the theme of that name, from now on."""
        self.theme = name
        self.memory.remember(self._theme_key, name)

    def action_next_theme(self) -> None:
        """Use the theme after this one."""
        place = THEME_NAMES.index(self.theme) if self.theme in THEME_NAMES else -1
        self.set_theme(THEME_NAMES[(place + 1) % len(THEME_NAMES)])
        self.notify(f"Theme: {self.theme}", timeout=2, markup=False)

    def action_help(self) -> None:
        """Show keys and words."""
        self.push_screen(HelpScreen())

    def exit(self, result: None = None, return_code: int = 0, message: RenderableType | None = None) -> None:
        """As Textual's, and what threads are reading is broken off: the process would wait for them."""
        self.left = True
        interrupt_reads()
        super().exit(result, return_code, message)

    async def on_event(self, event: events.Event) -> None:
        """As Textual's; keys behind the one that leaves do nothing."""
        if not (self.left and isinstance(event, events.InputEvent)):
            await super().on_event(event)

    def action_suspend_process(self) -> None:
        """Go back to the shell, whose ``fg`` comes back here; a run is another process and goes on."""
        if self._driver is None or not self._driver.can_suspend:
            return
        if not under_job_control():
            self.notify("There is no shell to come back from; q leaves, and a run goes on.", markup=False)
            return
        with contextlib.ExitStack() as stack:
            for screen in self.screen_stack:
                if isinstance(screen, FedScreen):
                    stack.enter_context(screen.resting())
            self._suspend_signal()
            # The whole job, as the terminal would: `make`, say, waits for us and would keep the shell waiting.
            os.killpg(os.getpgrp(), signal.SIGTSTP)

    def action_leave(self) -> None:
        """Leave, in the way of the screen that is shown."""
        getattr(self.screen, "action_leave", self.exit)()

    def leave(self, live: Sequence[SessionSummary]) -> None:
        """Leave; while runs are at work, ask once whether they go on."""
        if all(run.id in self._kept for run in live):
            self.exit()
            return

        def answered(choice: Choice | None) -> None:
            if choice is None:
                return
            self._kept.update(run.id for run in live)
            if choice == "stop":
                try:
                    for summary in live:
                        send(self.database, summary.id, "stop")
                except StoreError as error:
                    self.notify(sanitize(str(error)), severity="error", markup=False)
                    return
            self.exit()

        self.push_screen(LeaveScreen([summary.name for summary in live]), answered)


def run_dashboard(
    database: Path,
    session: int | None = None,
    *,
    settings: Settings | None = None,
    memory: Memory | None = None,
    watching: Watching | None = None,
) -> int:
    """Run the dashboard until it is left; returns the exit code.

    Raises `StoreError` before anything is drawn when the database cannot be used or has no such
    session. A terminal that goes away kills this process, as it should: the worker is another.
    """
    # Modules stay: every later collection of garbage need not look through them again.
    gc.freeze()
    connect(database).close()
    source = ""
    if session is not None:
        with Reader(database) as reader:
            source = reader.session(session).source
    settings = settings or Settings()
    keymap.apply(settings.keys)
    set_frame_rate(settings.fps)
    app = SpectuiApp(database, session, source, settings=settings, memory=memory, watching=watching)
    glyphs.choose(ascii=app.plain.characters == "ascii")
    app.run(mouse=settings.mouse)
    code = app.return_code or 0
    if app.to_delete and code == 0:
        print(f"deleting {sanitize(', '.join(app.to_delete.values()))}", file=sys.stderr)  # noqa: T201
        for problem in delete_all(database, app.to_delete):
            print(sanitize(problem), file=sys.stderr)  # noqa: T201
    return code
