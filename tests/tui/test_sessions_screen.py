"""The list of sessions, and what opens from it."""

from __future__ import annotations

from pathlib import Path

from store.database import connect
from tests.tui.conftest import app_for, shown, wait_for
from tests.tui.replay import Recording
from tui.app import SpectuiApp
from tui.screens.help import HelpScreen
from tui.screens.leave import LeaveScreen
from tui.screens.live import LiveScreen
from tui.screens.sessions import SessionsScreen
from tui.theme import THEME_NAMES
from tui.widgets.rows import Rows


def home(app: SpectuiApp) -> SessionsScreen:
    screen = app.screen
    assert isinstance(screen, SessionsScreen)
    return screen


async def test_an_empty_database_says_what_to_press(database: Path) -> None:
    connect(database).close()
    async with app_for(database).run_test(size=(80, 24)) as pilot:
        screen = home(pilot.app)  # type: ignore[arg-type]
        await wait_for(pilot, lambda: screen.query_one("#empty").display)
        assert "Press r to start a run" in screen.query_one("#empty", Rows).text


async def test_lists_and_updates_in_place(database: Path, finished: Recording) -> None:
    app = app_for(database)
    async with app.run_test(size=(120, 30)) as pilot:
        screen = home(app)
        await wait_for(pilot, lambda: "quiet-heron" in screen.table.text)
        line = screen.table.text.splitlines()[1]
        for part in ("✓ finished", "8/8", "SmolLM2-135M-Ins", "recycling", "code 2 m"):
            assert part in line
        other = Recording(database, name="tall-wren", prompts=4)
        await wait_for(pilot, lambda: "◌ starting" in screen.table.text)
        assert screen.table.cursor_item is not None
        assert screen.table.cursor_item.name == "quiet-heron"  # the cursor stays on its session
        other.begin()
        await wait_for(pilot, lambda: "● running" in screen.table.text)


async def test_enter_opens_a_session_and_escape_returns(database: Path, finished: Recording) -> None:
    app = app_for(database)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = home(app)
        await wait_for(pilot, lambda: screen.table.cursor_item)
        await pilot.press("enter")
        await wait_for(pilot, lambda: isinstance(app.screen, LiveScreen) and shown(app.screen, 7))
        await pilot.press("escape")
        await wait_for(pilot, lambda: app.screen is screen)


async def test_a_click_on_the_cursor_opens(database: Path, finished: Recording) -> None:
    app = app_for(database)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = home(app)
        await wait_for(pilot, lambda: screen.table.cursor_item)
        await pilot.click("#list-view", offset=(6, 1))
        await wait_for(pilot, lambda: isinstance(app.screen, LiveScreen))


async def test_help_palette_and_themes_from_everywhere(database: Path, finished: Recording) -> None:
    app = app_for(database)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = home(app)
        await pilot.press("question_mark")
        await wait_for(pilot, lambda: isinstance(app.screen, HelpScreen))
        assert "match rate" in app.screen.query_one("#help-box", Rows).text
        await pilot.press("escape")
        await wait_for(pilot, lambda: app.screen is screen)
        seen = []
        for _ in THEME_NAMES:
            await pilot.press("t")
            seen.append(app.theme)
        assert sorted(seen) == sorted(THEME_NAMES)
        await pilot.press("ctrl+p")
        await wait_for(pilot, lambda: app.screen is not screen)
        await pilot.press(*"theme light", "enter")
        await wait_for(pilot, lambda: app.screen is screen and app.theme == "light")


async def test_leaving_home_asks_about_runs(database: Path, running: Recording) -> None:
    app = app_for(database)
    async with app.run_test(size=(120, 30)) as pilot:
        screen = home(app)
        await wait_for(pilot, lambda: screen.sessions)
        await pilot.press("q")
        await wait_for(pilot, lambda: isinstance(app.screen, LeaveScreen))
        await pilot.press("k")
        await wait_for(pilot, lambda: app._exit)
