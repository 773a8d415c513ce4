"""Protects: order and cursor of a table, and that items out of sight cost nothing."""

from __future__ import annotations

import pytest
from textual.app import App, ComposeResult

from spectui.tui.terminal.theme import themes
from spectui.tui.widgets.table import Column, Table

ITEMS = tuple(range(5000))


class Tabled(App[None]):
    """A table of numbers that notes which of them it draws."""

    def __init__(self) -> None:
        super().__init__()
        for theme in themes():
            self.register_theme(theme)
        self.theme = "dark"
        self.drawn: list[int] = []

    def compose(self) -> ComposeResult:
        yield Table(
            [
                Column("number", self.cell, 6, order=lambda n: n, falling=True),
                Column("digit", lambda n: (str(n % 10), "text"), 5, order=lambda n: n % 10 or None),
            ],
            lambda n: n,
        )

    def cell(self, number: int) -> tuple[str, str]:
        self.drawn.append(number)
        return str(number), "text"

    @property
    def table(self) -> Table[int]:
        return self.query_one(Table)


async def test_only_what_is_in_sight_is_drawn() -> None:
    app = Tabled()
    async with app.run_test(size=(30, 20)) as pilot:
        app.table.show(ITEMS)
        await pilot.press("end")
        await pilot.pause()
        assert app.table.cursor_item == 4999
        assert app.table.scroll_offset.y == 5000 - 19
        app.table.show(ITEMS[:40])
        await pilot.pause()
        assert app.table.cursor_item == 39
        assert len(set(app.drawn)) < 100


async def test_the_order_holds_when_items_change_and_the_cursor_stays_on_its_item() -> None:
    app = Tabled()
    async with app.run_test(size=(30, 20)) as pilot:
        app.table.show((7, 30, 12, 25))
        app.table.select(12)
        app.table.sort_by("digit")
        assert list(app.table.items) == [12, 25, 7, 30]  # what has no place in the order comes last
        assert app.table.cursor_item == 12
        app.table.show((41, 7, 30, 12, 25, 22))
        assert list(app.table.items) == [41, 12, 22, 25, 7, 30]
        assert app.table.cursor_item == 12
        app.table.action_reverse()
        assert list(app.table.items) == [7, 25, 12, 22, 41, 30]
        await pilot.pause()
        assert "digit▾" in app.table.text.splitlines()[0].replace("digi▾", "digit▾")


@pytest.mark.parametrize("step", [1, -1])
async def test_moving_past_the_edge_shows_what_follows(step: int) -> None:
    app = Tabled()
    async with app.run_test(size=(30, 20)) as pilot:
        app.table.show(ITEMS)
        app.table.select(2500)
        await pilot.pause()
        scrolls = {app.table.scroll_offset.y}
        for _ in range(60):
            app.table.action_move(step)
            scrolls.add(app.table.scroll_offset.y)
            assert app.table.scroll_offset.y <= app.table._cursor < app.table.scroll_offset.y + 19
        assert len(scrolls) < 14  # each scroll repaints the pane


async def test_a_scrollbar_that_comes_stands_where_the_rows_do() -> None:
    """A list that a narrow screen hides before its first layout with rows has scrolled before it has a scrollbar."""
    app = Tabled()
    async with app.run_test(size=(30, 20)) as pilot:
        table = app.table
        table.show(ITEMS[:40])
        table.select(30)
        table.display = False
        await pilot.pause()
        assert not table.show_vertical_scrollbar
        table.display = True
        await pilot.pause()
        assert table.show_vertical_scrollbar
        assert table.vertical_scrollbar.position == table.scroll_y > 0
