"""Protects: keys go where the screen says, in a database that was empty when it was opened, and in bursts."""

from __future__ import annotations

from pathlib import Path

from textual import events
from textual.app import App
from textual.widgets import Input

from spectui.store.database import open_database
from spectui.tui.screens.live.screen import LiveScreen
from spectui.tui.screens.new_run import NewRunScreen
from spectui.tui.screens.sessions.screen import SessionsScreen
from tests.tui.conftest import app_for, wait_for
from tests.tui.replay import Recording


async def test_keys_reach_the_list_after_the_first_run(database: Path) -> None:
    open_database(database).close()
    app = app_for(database)
    async with app.run_test(size=(120, 40)) as pilot:
        assert isinstance(app.screen, SessionsScreen)
        screen: SessionsScreen = app.screen
        await wait_for(pilot, lambda: screen.has_class("-empty"))
        recording = Recording(database, prompts=2)
        recording.begin()
        recording.prompt(tokens=20)
        app.go("live", recording.id)
        await wait_for(pilot, lambda: isinstance(app.screen, LiveScreen))
        await pilot.press("escape")
        await wait_for(pilot, lambda: app.screen is screen and len(screen.table.items) == 1)
        assert app.focused is screen.table
        await pilot.press("r")
        await wait_for(pilot, lambda: isinstance(app.screen, NewRunScreen))
    recording.close()


def burst(app: App[None], *keys: str) -> None:
    """Keys all at once, as a slow line brings them."""
    names = {"/": "slash", "-": "minus", ">": "greater_than_sign"}
    for key in keys:
        app.post_message(events.Key(names.get(key, key), key if len(key) == 1 else None))


async def test_what_follows_the_slash_at_once_is_the_filter(database: Path, finished: Recording) -> None:
    app = app_for(database)
    async with app.run_test(size=(80, 24)) as pilot:
        assert isinstance(app.screen, SessionsScreen)
        screen: SessionsScreen = app.screen
        await wait_for(pilot, lambda: len(screen.table.items) == 1)
        field = screen.query_one("#filter-text", Input)
        burst(app, *"/dq/m")
        await wait_for(pilot, lambda: field.value == "dq/m")
        assert app.screen is screen
        assert screen.query_one("#filter").display
        await pilot.press("escape")
        await wait_for(pilot, lambda: app.focused is screen.table)
        assert not screen.query_one("#filter").display


async def test_what_follows_a_tab_at_once_goes_to_the_next_field(database: Path, finished: Recording) -> None:
    app = app_for(database)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("r")
        await wait_for(pilot, lambda: isinstance(app.screen, NewRunScreen) and app.focused is not None)
        burst(app, "a", "tab", "b", "down", "c", "up", "d", "shift+tab", "e")
        await wait_for(pilot, lambda: app.screen.query_one("#tree", Input).value == "c")
        # What stood in a field that is come back to is selected, and typed over.
        assert app.screen.query_one("#draft", Input).value == "d"
        await wait_for(pilot, lambda: app.screen.query_one("#target", Input).value == "e")
