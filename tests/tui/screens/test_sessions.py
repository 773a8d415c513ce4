"""The list of sessions, and what opens from it."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.widgets import Input

from spectui.store.database import connect
from spectui.store.reading.reader import Reader
from spectui.tui.app import SpectuiApp
from spectui.tui.feeds.writes import delete_all
from spectui.tui.memory import SUMMARY, Memory
from spectui.tui.screens.dialogs.ask import AskScreen
from spectui.tui.screens.dialogs.delete import DeleteScreen
from spectui.tui.screens.dialogs.leave import LeaveScreen
from spectui.tui.screens.help import HelpScreen
from spectui.tui.screens.live.screen import LiveScreen
from spectui.tui.screens.sessions.screen import SessionsScreen
from spectui.tui.terminal.theme import THEME_NAMES
from spectui.tui.widgets.rows import Line, Rows
from spectui.tui.widgets.session_card import SessionCard
from tests.tui.conftest import app_for, shown, title_of, wait_for
from tests.tui.replay import Recording
from tests.tui.screens.data import make_several


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
        for part in ("! 1 failed", "8/8", "recycling", "full:3x2"):
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


def make(database: Path, **named: str) -> dict[str, int]:
    """Sessions by name, each with its status; returns their ids."""
    ids = {}
    for name, status in named.items():
        recording = Recording(
            database, name=name, tasks=("code",) if status == "failed" else ("math",), prompts=1
        )
        recording.begin()
        recording.prompt(tokens=10 * len(name))
        recording.end(status)
        ids[name] = recording.id
        recording.close()
    return ids


def names(screen: SessionsScreen) -> list[str]:
    return [row.name for row in screen.table.items]


async def test_sorts_by_any_column_both_ways(database: Path) -> None:
    make(database, cedar="finished", amber="failed", birchwood="stopped")
    app = app_for(database)
    async with app.run_test(size=(120, 30)) as pilot:
        screen = home(app)
        await wait_for(pilot, lambda: names(screen) == ["birchwood", "amber", "cedar"])
        await pilot.press("o")
        assert names(screen) == ["amber", "birchwood", "cedar"]
        assert "by session ▴" in str(screen.query_one("#list").border_title)
        await pilot.press("i")
        assert names(screen) == ["cedar", "birchwood", "amber"]
        await pilot.press("o")
        assert names(screen) == ["cedar", "birchwood", "amber"]  # finished, stopped, failed
        await pilot.press("O", "O")
        assert names(screen) == ["birchwood", "amber", "cedar"]
        heading = screen.table.text.splitlines()[0]
        await pilot.click("#list-view", offset=(heading.index("tok") + 1, 0))
        assert names(screen)[0] == "birchwood"
        await pilot.click("#list-view", offset=(heading.index("tok") + 1, 0))
        assert names(screen)[-1] == "birchwood"
        for _ in screen.table._columns:
            await pilot.press("o")
            assert sorted(names(screen)) == ["amber", "birchwood", "cedar"]


async def test_filters_as_one_types(database: Path) -> None:
    make(database, cedar="finished", amber="failed", birchwood="stopped")
    app = app_for(database)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = home(app)
        await wait_for(pilot, lambda: len(names(screen)) == 3)
        await pilot.press("slash", *"task:math", "space", *"-ced")
        assert names(screen) == ["birchwood"]
        assert "1 of 3" in str(screen.query_one("#list").border_title)
        await pilot.press("space", *">2026")
        assert names(screen) == []
        assert "None of 3" in screen.query_one("#none", Rows).text
        await pilot.press("backspace")
        assert names(screen) == ["birchwood"]
        assert "such as >2026-11-01" in str(screen.query_one("#list").border_subtitle)
        await pilot.press("enter")
        assert app.focused is screen.table
        await wait_for(pilot, lambda: screen.card and screen.card.summary.name == "birchwood")
        await pilot.press("escape")
        assert len(names(screen)) == 3
        assert not screen.query_one("#filter").display


async def test_renames_tags_and_notes(database: Path) -> None:
    ids = make(database, cedar="finished", amber="failed")
    app = app_for(database)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = home(app)
        await wait_for(pilot, lambda: len(names(screen)) == 2)
        await pilot.press("e")
        await wait_for(pilot, lambda: isinstance(app.screen, AskScreen))
        answer = app.screen.query_one(Input)
        assert answer.value == "amber"
        answer.value = "cedar"
        await pilot.press("enter")
        await wait_for(pilot, lambda: "'cedar' already" in app.screen.query_one("#ask-note", Line).text)
        answer.value = "beryl [b]x[/]"
        await pilot.press("enter")
        await wait_for(pilot, lambda: app.screen is screen and "beryl [b]x[/]" in names(screen))
        for key, text in (("number_sign", "#Slow, gpu"), ("n", "fan was off")):
            await pilot.press(key)
            await wait_for(pilot, lambda: isinstance(app.screen, AskScreen))
            assert "beryl [b]x[/]" in title_of(app.screen.query_one("#ask-box"))
            app.screen.query_one(Input).value = text
            await pilot.press("enter")
            await wait_for(pilot, lambda: app.screen is screen)
        await wait_for(pilot, lambda: "fan was off" in card(screen))
        assert "#gpu #slow" in card(screen)
    with Reader(database) as reader:
        row = reader.session(ids["amber"])
        assert (row.name, row.tags, row.notes) == ("beryl [b]x[/]", ("gpu", "slow"), "fan was off")


async def test_deleting_is_confirmed_and_can_be_undone(database: Path) -> None:
    ids = make(database, cedar="finished", amber="failed")
    app = app_for(database)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = home(app)
        await wait_for(pilot, lambda: len(names(screen)) == 2)
        await pilot.press("m")
        await wait_for(pilot, lambda: "1 marked" in str(screen.query_one("#list").border_subtitle))
        assert "compares" not in str(screen.query_one("#list").border_subtitle)  # it takes two
        await pilot.press("d")
        await wait_for(pilot, lambda: isinstance(app.screen, DeleteScreen))
        await pilot.press("enter")  # the answer that is safe has the focus
        await wait_for(pilot, lambda: app.screen is screen)
        assert len(names(screen)) == 2
        await pilot.press("d")
        await wait_for(pilot, lambda: isinstance(app.screen, DeleteScreen))
        await pilot.press("d")
        await wait_for(pilot, lambda: names(screen) == ["cedar"])
        assert app.to_delete == {ids["amber"]: "amber"}
        await wait_for(pilot, lambda: "marked" not in str(screen.query_one("#list").border_subtitle))
        await pilot.press("u")
        await wait_for(pilot, lambda: len(names(screen)) == 2)
        assert screen.table.cursor_item is not None
        assert screen.table.cursor_item.name == "amber"
        assert app.to_delete == {}
    with Reader(database) as reader:
        assert len(reader.sessions()) == 2


def test_what_was_deleted_goes_when_the_dashboard_is_left(database: Path, running: Recording) -> None:
    ids = make(database, cedar="finished", amber="failed")
    problems = delete_all(database, {ids["amber"]: "amber", running.id: "brave-otter"})
    assert problems == [
        "'brave-otter' was not deleted: session 'brave-otter' is running; stop it before deleting it"
    ]
    with Reader(database) as reader:
        assert [row.name for row in reader.sessions()] == ["cedar", "brave-otter"]


async def test_a_run_is_not_deleted(database: Path, running: Recording) -> None:
    app = app_for(database)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = home(app)
        await wait_for(pilot, lambda: len(names(screen)) == 1)
        await pilot.press("d")
        await wait_for(pilot, lambda: app._notifications)
        assert app.screen is screen


def card(screen: SessionsScreen) -> str:
    return screen.query_one(SessionCard).text


async def test_the_summary_is_of_the_session_under_the_cursor(
    database: Path, finished: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(database, cedar="failed")
    app = app_for(database)
    copied: list[str] = []
    monkeypatch.setattr(app, "copy_to_clipboard", copied.append)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = home(app)
        await wait_for(pilot, lambda: screen.card and screen.card.summary.name == "cedar")
        assert "greedy, 256 new tokens" in card(screen)
        await pilot.press("down")
        await wait_for(pilot, lambda: screen.query_one("#card").border_title == "quiet-heron")
        for part in ("full:3x2", "logic", "E 1.", "def merge(a, b):", "merges two sorted"):
            assert part in card(screen)
        await pilot.press("y")
        await wait_for(pilot, lambda: copied)
        assert copied[0].startswith("quiet-heron\nfailed   1 of 8 prompts\ntarget   SmolLM2-135M-Instruct")
        await pilot.press("v")
        assert not screen.query_one("#card").display


async def test_a_small_terminal_shows_the_list_or_the_summary(database: Path, finished: Recording) -> None:
    app = app_for(database)
    async with app.run_test(size=(40, 10)) as pilot:
        screen = home(app)
        await wait_for(pilot, lambda: screen.card)
        assert (screen.query_one("#list").display, screen.query_one("#card").display) == (True, False)
        await pilot.press("v")
        assert (screen.query_one("#list").display, screen.query_one("#card").display) == (False, True)
        assert "code" in card(screen)
        await pilot.press("v")
        assert screen.query_one("#list").display
        await pilot.press("v", "escape")
        assert screen.query_one("#list").display
        assert app.focused is screen.table


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
        page = app.screen.query_one("#help-box", Rows).text
        assert page.startswith("The list of sessions")
        assert "match rate" in page
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


async def test_the_layout_chosen_last_is_there_the_next_time(database: Path, tmp_path: Path) -> None:
    make_several(database)
    memory = tmp_path / "dashboard.json"
    app = SpectuiApp(database, memory=Memory(memory))
    async with app.run_test(size=(120, 40)) as pilot:
        screen = home(app)
        await wait_for(pilot, lambda: screen.table.items)
        await pilot.press("o", "o", "i", "v", "enter")
        await wait_for(pilot, lambda: isinstance(app.screen, LiveScreen))
        await pilot.press("h", "x", "3")
        sorting = screen.table.sorting
    app = SpectuiApp(database, memory=Memory(memory))
    async with app.run_test(size=(120, 40)) as pilot:
        screen = home(app)
        await wait_for(pilot, lambda: screen.table.items)
        assert screen.table.sorting == sorting
        assert sorting[0] != "#"
        assert not screen.has_class("-card")
        await pilot.press("enter")
        await wait_for(pilot, lambda: isinstance(app.screen, LiveScreen))
        live = app.screen
        assert isinstance(live, LiveScreen)
        assert live.body.chart.name == "depth"
        assert (live.body.single, live.body.pane) == (False, 1)  # of a session, not of the dashboard
        assert not live.stream.show_rejected


async def test_a_summary_wanted_on_a_tall_terminal_does_not_hide_the_list_on_a_low_one(
    database: Path, finished: Recording
) -> None:
    app = app_for(database)
    app.memory.remember(SUMMARY, True)
    async with app.run_test(size=(40, 10)) as pilot:
        screen = home(app)
        await wait_for(pilot, lambda: screen.card)
        assert screen.query_one("#list").display
