"""Comparing sessions: marking, charts over each other, the figures, and where outputs part."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.pilot import Pilot

from spectui.store.database import connect
from spectui.store.reading.reader import Reader
from spectui.tui.screens.compare import CompareScreen, Page
from spectui.tui.screens.sessions.screen import SessionsScreen
from spectui.tui.widgets.outputs import Outputs, first_difference, read_answers
from spectui.tui.widgets.plot import Plot
from spectui.tui.widgets.rows import Rows
from tests.tui.conftest import app_for, wait_for
from tests.tui.replay import Recording
from tests.tui.screens.data import make_compared


def sessions_of(pilot: Pilot[None]) -> SessionsScreen:
    """The list of sessions, which is on top."""
    home = pilot.app.screen
    assert isinstance(home, SessionsScreen)
    return home


async def opened(pilot: Pilot[None], marks: int = 2) -> CompareScreen:
    """Mark so many sessions from the top of the list, and compare them."""
    home = pilot.app.screen
    assert isinstance(home, SessionsScreen)
    await wait_for(pilot, lambda: len(home.table.items) >= marks)
    await pilot.press("home")
    for _ in range(marks):
        await pilot.press("m", "down")
    await pilot.press("c")
    await wait_for(pilot, lambda: isinstance(pilot.app.screen, CompareScreen))
    screen = pilot.app.screen
    assert isinstance(screen, CompareScreen)
    await wait_for(pilot, lambda: screen.answers is not None and screen._lines and screen._sources)
    return screen


@pytest.mark.parametrize(
    ("one", "other", "at"), [("abc", "abc", None), ("abc", "abd", 2), ("ab", "abc", 2), ("", "a", 0)]
)
def test_where_texts_part(one: str, other: str, at: int | None) -> None:
    assert first_difference(one, other) == at


def test_answers_are_paired_by_prompt(database: Path) -> None:
    make_compared(database)
    with Reader(database) as reader:
        answers = read_answers(reader, [1, 2])
        assert read_answers(reader, [1, 3])[0].outputs[1] is None
    assert [a.task for a in answers] == ["code", "math", "logic", "chat"]
    assert [a.differs_at is not None for a in answers] == [False, True, False, True]
    assert answers[1].outputs[0] is not None
    assert answers[1].differs_at == answers[1].outputs[0].index("apples")


async def test_fewer_than_two_marks_open_nothing(database: Path, finished: Recording) -> None:
    async with app_for(database).run_test(size=(120, 40)) as pilot:
        home = sessions_of(pilot)
        await wait_for(pilot, lambda: home.table.items)
        await pilot.press("c", "m", "c")
        assert not isinstance(pilot.app.screen, CompareScreen)
        assert "◆ quiet-heron" in home.table.text
        await pilot.press("m")
        assert not home.marked
        assert "◆" not in home.table.text


async def test_two_sessions_beside_each_other(database: Path) -> None:
    make_compared(database)
    with connect(database) as db:
        db.execute("DELETE FROM session WHERE id = 3")
    async with app_for(database).run_test(size=(120, 44)) as pilot:
        screen = await opened(pilot)
        plot = screen.query_one(Plot)
        assert [series.name for series, _ in plot.reading()] == ["A tall-wren", "B quiet-heron"]
        before = plot.text
        await pilot.press("o")
        assert "code" in str(screen.query_one("#chart").border_title)
        assert plot.text != before
        await pilot.press("right", "h")
        assert "depth 1" in screen.query_one("#reading", Rows).text
        page = screen.query_one(Page).text
        assert "A  session 2 'tall-wren'" in page
        assert "accepted length" in page
        await pilot.press("n")
        outputs = screen.query_one(Outputs)
        assert "math · prompt 2 of 4 · differ after" in str(screen.query_one("#outputs").border_title)
        marked = [text for row in outputs.rows for text, role in row if "marked" in role]
        assert marked == ["pears.", "apples."]
        await pilot.press("n")
        assert "chat · prompt 4 of 4" in str(screen.query_one("#outputs").border_title)
        await pilot.press("N", "left_square_bracket")
        assert "code · prompt 1 of 4 · the same" in str(screen.query_one("#outputs").border_title)
        await pilot.press("escape")
        assert isinstance(pilot.app.screen, SessionsScreen)


async def test_three_sessions_are_each_set_against_the_first(database: Path) -> None:
    make_compared(database)
    async with app_for(database).run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot, 3)
        await pilot.press("2")
        page = screen.query_one(Page)
        assert page.display
        assert not screen.query_one("#chart").display
        assert "no round" in page.text  # the newest has not begun
        await pilot.press("3")
        assert "No output." in screen.query_one(Outputs).text
        await pilot.press("1")
        assert screen.query_one("#chart").display
