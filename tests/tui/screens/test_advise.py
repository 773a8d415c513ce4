"""The advice in the dashboard: what `spectui advise` says, weighed beside the screen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from spectui.decoding.trees.advise.advice import Advice
from spectui.store.database import connect
from spectui.tui.screens.advise import AdviceView, AdviseScreen
from spectui.tui.screens.sessions.screen import SessionsScreen
from spectui.tui.widgets.rows import Line
from tests.cli.test_advise_server import session as server_session
from tests.tui.conftest import app_for, wait_for
from tests.tui.replay import Recording


async def opened(pilot: Pilot[Any]) -> AdviseScreen:
    before = pilot.app.screen
    if isinstance(before, SessionsScreen):
        await wait_for(pilot, lambda: before.table.cursor_item)
    await pilot.press("A")
    await wait_for(pilot, lambda: isinstance(pilot.app.screen, AdviseScreen))
    screen = pilot.app.screen
    assert isinstance(screen, AdviseScreen)
    return screen


async def test_it_says_which_tree_pays_and_writes_the_file(
    database: Path, finished: Recording, tmp_path: Path
) -> None:
    app = app_for(database)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        await wait_for(pilot, lambda: screen.result)
        view = screen.query_one(AdviceView)
        await wait_for(pilot, lambda: view.rows)
        assert screen.result is not None
        assert isinstance(screen.result.advice, Advice)
        for words in (
            "tree that pays",
            "x plain",
            "A million tokens take",
            screen.result.advice.single.tree,
        ):
            assert words in view.text
        await pilot.press("w")
        await wait_for(pilot, lambda: app.screen is not screen)
        box = app.screen.query_one("Input")
        box.value = str(tmp_path / "b.json")  # type: ignore[attr-defined]
        await pilot.press("enter")
        await wait_for(pilot, lambda: (tmp_path / "b.json").exists())
        await wait_for(pilot, lambda: app.screen is screen)
        await pilot.press("escape")
        assert isinstance(app.screen, SessionsScreen)


async def test_a_servers_session_says_which_draft_length_pays(database: Path, tmp_path: Path) -> None:
    server_session(database)
    app = app_for(database, 1)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        screen = await opened(pilot)
        await wait_for(pilot, lambda: screen.result)
        view = screen.query_one(AdviceView)
        await wait_for(pilot, lambda: view.rows)
        for words in ("Draft length, all tasks", "x plain", "A draft of 4 was not recorded"):
            assert words in view.text
        await pilot.press("w")  # a plan of trees
        await wait_for(pilot, lambda: app.screen is not screen)
        await pilot.press("enter")
        note = app.screen.query_one("#ask-note", Line)
        await wait_for(pilot, lambda: "no trees to save" in note.text)


async def test_a_session_that_says_too_little_says_so(database: Path) -> None:
    made = Recording(database, name="short", prompts=1)
    made.begin()
    made.prompt(tokens=20)
    made.end()
    made.close()
    app = app_for(database, made.id)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        screen = await opened(pilot)
        waiting = screen.query_one("#waiting", Line)
        await wait_for(pilot, lambda: "it takes two" in waiting.text)
        assert screen.result is None


async def test_a_round_says_what_its_tree_was_chosen_by(database: Path, finished: Recording) -> None:
    db = connect(database)
    db.execute(
        "INSERT INTO tree_choice (id, session_id, task, tree, kind, reason, at)"
        " VALUES (7, ?1, 'code', 'dynamic:3x2', 'learned', '1.08x as fast', '2026-01-01'),"
        " (8, ?1, 'math', 'dynamic:4x2', 'prior', 'expected', '2026-01-01'),"
        " (9, ?1, 'math', 'dynamic:8x3', 'explore', 'shows', '2026-01-01')",
        (finished.id,),
    )
    db.execute("UPDATE round SET choice_id = 7")
    db.commit()
    db.close()
    app = app_for(database, finished.id)
    async with app.run_test(size=(120, 40)) as pilot:
        await wait_for(
            pilot,
            lambda: any("dynamic:3x2 · learned: 1.08x" in rows.text for rows in app.screen.query("TreeView")),  # type: ignore[attr-defined]
        )
        # What the other tasks have now, explorations aside.
        shown = " ".join(" ".join(rows.text for rows in app.screen.query("TreeView")).split())  # type: ignore[attr-defined]
        assert "now math dynamic:4x2" in shown


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"
