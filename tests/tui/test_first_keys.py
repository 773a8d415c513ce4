"""Protects: the keys of the list work in a database that was empty when it was opened."""

from __future__ import annotations

from pathlib import Path

from store.database import open_database
from tests.tui.conftest import app_for, wait_for
from tests.tui.replay import Recording
from tui.screens.live import LiveScreen
from tui.screens.new_run import NewRunScreen
from tui.screens.sessions import SessionsScreen


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
        app.open_session(recording.id)
        await wait_for(pilot, lambda: isinstance(app.screen, LiveScreen))
        await pilot.press("escape")
        await wait_for(pilot, lambda: app.screen is screen and len(screen.table.items) == 1)
        assert app.focused is screen.table
        await pilot.press("r")
        await wait_for(pilot, lambda: isinstance(app.screen, NewRunScreen))
    recording.close()
