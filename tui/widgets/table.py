"""A table with a cursor whose columns give way when the terminal is narrow, sorted by any of them.

Only rows in sight are ever drawn, so that thousands of items cost no more than a screenful.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from rich.cells import cell_len
from textual import events
from textual.geometry import Region, Size
from textual.message import Message
from textual.strip import Strip

from spectui.tui.navigation.keymap import bindings
from spectui.tui.terminal.cells import Align, fit
from spectui.tui.widgets.rows import Cell, Row, Rows, set_scroll_size

Item = TypeVar("Item")


@dataclass(frozen=True)
class Column(Generic[Item]):
    """A column: its title, how to draw a cell of it, and when it is given up."""

    title: str
    cell: Callable[[Item], Cell]
    width: int
    align: Align = "left"
    keep: int = 0
    """Columns of a lower number stay longer; 0 is never given up."""
    widest: int = 0
    """Cells that it may widen to where there is space, before the one that `grows`."""
    grows: bool = False
    """Takes the space that is left; one column of a table may."""
    whole: bool = False
    """Its cells are never cut, but the column widens to hold them; those of figures (to the right) never are."""
    order: Callable[[Item], Any] | None = None
    """The value to sort by; items for which it is None come last. None: the column cannot be sorted by."""
    falling: bool = False
    """Sorted from the highest to the lowest at first, as one wants numbers."""

    @property
    def uncut(self) -> bool:
        """True when its cells are never cut."""
        return self.whole or self.align == "right"


LEAST = 6
"""Cells that a column of words keeps where figures need the rest."""
AHEAD = 8
"""Rows that scrolling shows beyond the cursor: each scroll repaints the pane, so there are fewer of them."""


class Table(Rows, Generic[Item], can_focus=True, inherit_bindings=False):
    """Rows of items under a heading. Items are known by a key, so that the cursor stays on its item."""

    DEFAULT_CSS = "Table { scrollbar-gutter: stable; }"
    BINDINGS = bindings("table")

    class Moved(Message):
        """The cursor is on another item, or on none."""

        def __init__(self, table: Table[Any], key: int | None) -> None:
            super().__init__()
            self.table = table
            self.key = key

    class Sorted(Message):
        """The order has changed."""

    class Chosen(Message):
        """An item was opened with enter or a click."""

        def __init__(self, table: Table[Any], key: int) -> None:
            super().__init__()
            self.table = table
            self.key = key

    def __init__(
        self, columns: Sequence[Column[Item]], key: Callable[[Item], int], *, id: str | None = None
    ) -> None:
        super().__init__(id=id)
        self._columns = tuple(columns)
        self._key = key
        self._unsorted: tuple[Item, ...] = ()
        self._items: tuple[Item, ...] = ()
        self._cursor = 0
        self._widths: list[int] = []
        self._needs = [column.width for column in self._columns]
        """Cells that each column asks for: its width, or what the longest figure that was drawn takes."""
        self._drawn: dict[int, Row] = {}
        self._sorted_by: Column[Item] | None = None
        self._falling = False

    @property
    def cursor_item(self) -> Item | None:
        """The item under the cursor."""
        return self._items[self._cursor] if self._items else None

    @property
    def items(self) -> tuple[Item, ...]:
        """The items, in the order they are shown in."""
        return self._items

    @property
    def rows(self) -> tuple[Row, ...]:
        """The heading and every row, in sight or not."""
        return tuple(self._row(index) for index in range(len(self._items) + 1)) if self._widths else ()

    @property
    def order(self) -> str:
        """The order: the column's title and an arrow; "" when items stand as they came."""
        return f"{self._sorted_by.title} {self._arrow}" if self._sorted_by else ""

    @property
    def _arrow(self) -> str:
        return "▾" if self._falling else "▴"

    def show(self, items: Sequence[Item]) -> None:
        """Show these items; the cursor follows the item it was on."""
        held = self._key(self._items[self._cursor]) if self._items else None
        before = self._in_sight()
        self._unsorted = tuple(items)
        self._items = self._sorted(self._unsorted)
        self._drawn.clear()
        most = len(self._items) - 1
        cursor = min(self._cursor, max(most, 0))
        if self._items and self._key(self._items[cursor]) != held:  # a list may have hundreds of thousands
            cursor = next((i for i, item in enumerate(self._items) if self._key(item) == held), cursor)
        set_scroll_size(self, Size(0, len(self._items) + 1))
        self._set_cursor(cursor, moved=not self._items or self._key(self._items[cursor]) != held)
        most = max(len(self._items) + 1 - self.size.height, 0)
        if self.scroll_offset.y > most:
            self._scroll(most)
        for y, (old, new) in enumerate(zip(before, self._in_sight(), strict=False)):
            if old != new:
                self.refresh(Region(0, y, self.size.width, 1))

    @property
    def sorting(self) -> tuple[str, bool]:
        """The title of the column that it is sorted by, "" for none; and True when from the highest down."""
        return (self._sorted_by.title if self._sorted_by else "", self._falling)

    def sort_by(self, title: str, *, falling: bool | None = None) -> bool:
        """Sort by the column of that title; in its own direction unless `falling` is set. False when there is none."""
        column = next((c for c in self._columns if c.title == title and c.order is not None), None)
        if column is None:
            return False
        self._sorted_by = column
        self._falling = column.falling if falling is None else falling
        self.show(self._unsorted)
        self.refresh()
        self._reveal()
        self.post_message(self.Sorted())
        return True

    def action_sort(self, step: int) -> None:
        """Sort by the column after the one sorted by, or before it."""
        able = [c for c in self._columns if c.order is not None]
        if able:
            place = able.index(self._sorted_by) if self._sorted_by in able else -1
            self.sort_by(able[(place + step) % len(able)].title)

    def action_reverse(self) -> None:
        """Reverse the order."""
        if self._sorted_by is not None:
            self.sort_by(self._sorted_by.title, falling=not self._falling)

    def _sorted(self, items: tuple[Item, ...]) -> tuple[Item, ...]:
        order = self._sorted_by.order if self._sorted_by else None
        if order is None:
            return items
        keyed = [(order(item), item) for item in items]
        known = [pair for pair in keyed if pair[0] is not None]
        known.sort(key=lambda pair: pair[0], reverse=self._falling)
        return (*(item for _, item in known), *(item for value, item in keyed if value is None))

    def select(self, key: int) -> None:
        """Put the cursor on the item of that key."""
        for index, item in enumerate(self._items):
            if self._key(item) == key:
                self._set_cursor(index)

    def on_resize(self) -> None:
        """Lay out for the new width."""
        self._lay_out()
        set_scroll_size(self, Size(0, len(self._items) + 1))
        self.refresh()
        self._reveal()

    def on_click(self, event: events.Click) -> None:
        """A click moves the cursor; on the cursor's row it opens; on a heading it sorts, then turns the order."""
        index = event.y - 1 + self.scroll_offset.y
        if event.y == 0:
            self._sort_at(event.x)
        if event.y < 1 or not 0 <= index < len(self._items):
            return
        if index == self._cursor:
            self.action_choose()
        else:
            self._set_cursor(index)

    def action_move(self, rows: int) -> None:
        """Move the cursor by rows."""
        self._set_cursor(self._cursor + rows)

    def action_page(self, pages: int) -> None:
        """Move the cursor by pages."""
        self._set_cursor(self._cursor + pages * max(self.size.height - 2, 1))

    def action_edge(self, last: int) -> None:
        """Move the cursor to the first item or the last."""
        self._set_cursor(len(self._items) - 1 if last else 0)

    def action_choose(self) -> None:
        """Open the item under the cursor."""
        if self._items:
            self.post_message(self.Chosen(self, self._key(self._items[self._cursor])))

    def render_line(self, y: int) -> Strip:
        """The heading stays on top; below it the rows scroll, the cursor's marked across its width."""
        width = self.size.width
        index = y + self.scroll_offset.y if y else 0
        if not self._widths or index > len(self._items):
            return Strip.blank(width, self.base)
        row = self._row(index)
        if index and index - 1 == self._cursor:
            row = (*((text, f"{role} cursor") for text, role in row), (" " * width, "cursor"))
        return self._strip(row).crop_extend(0, width, self.base)

    def _set_cursor(self, index: int, *, moved: bool = False) -> None:
        index = min(max(index, 0), max(len(self._items) - 1, 0))
        old, self._cursor = self._cursor, index
        if old != index:
            for line in (old, index):
                self.refresh(Region(0, line + 1 - self.scroll_offset.y, self.size.width, 1))
        if moved or old != index:
            self.post_message(self.Moved(self, self._key(self._items[index]) if self._items else None))
        self._reveal()

    def _reveal(self) -> None:
        top, visible = self.scroll_offset.y, self.size.height - 1
        if visible < 1:
            return
        ahead = min(AHEAD, visible // 3)
        if self._cursor < top:
            self._scroll(max(self._cursor - ahead, 0))
        elif self._cursor >= top + visible:
            self._scroll(self._cursor - visible + 1 + ahead)

    def _scroll(self, y: int) -> None:
        self.scroll_to(y=y, animate=False, force=True)  # also before the scrollbar has come

    def _in_sight(self) -> list[Row]:
        """The rows of the visible part, the heading first."""
        if not self._widths:
            return []
        top = self.scroll_offset.y
        lines = [0, *range(top + 1, top + self.size.height)]
        return [self._row(index) if index <= len(self._items) else () for index in lines]

    def _row(self, index: int) -> Row:
        """The heading for 0, else the row of an item, drawn when first asked for."""
        row = self._drawn.get(index)
        if row is None:
            row = self._drawn[index] = self._draw_item(self._items[index - 1]) if index else self._heading()
        return row

    def _lay_out(self) -> None:
        self._widths = self._layout(self.room) if self.room else []
        self._drawn.clear()

    def _heading(self) -> Row:
        cells: list[Cell] = []
        for column, width in zip(self._columns, self._widths, strict=True):
            if width:
                title, role = column.title, "muted"
                if column is self._sorted_by:
                    title, role = title[: width - 1] + self._arrow, "strong"
                cells.append((fit(title, width, column.align) + "  ", role))
        return tuple(cells)

    def _draw_item(self, item: Item) -> Row:
        drawn = [column.cell(item) if width else ("", "") for column, width in self._columns_and_widths()]
        wider = [
            i
            for i, (text, _) in enumerate(drawn)
            if self._columns[i].uncut and cell_len(text) > self._needs[i]
        ]
        if wider:  # a longer figure than any before
            for i in wider:
                self._needs[i] = cell_len(drawn[i][0])
            self._lay_out()
            self.refresh()
        return tuple(
            (fit(text, width, column.align) + "  ", role)
            for (column, width), (text, role) in zip(self._columns_and_widths(), drawn, strict=True)
            if width and role
        )

    def _columns_and_widths(self) -> list[tuple[Column[Item], int]]:
        """Every column and its width, 0 for those that had to go."""
        return list(zip(self._columns, self._widths, strict=True))

    def _sort_at(self, x: int) -> None:
        """Sort by the column whose heading is at `x`."""
        start = 0
        for column, width in zip(self._columns, self._widths, strict=True):
            end = start + width + 2 if width else start
            if start <= x < end and column.order is not None:
                if column is self._sorted_by:
                    self.action_reverse()
                else:
                    self.sort_by(column.title)
                return
            start = end

    def _layout(self, width: int) -> list[int]:
        """Cells of each column, 0 for those that had to go. Where that is not enough, words give way to figures."""
        kept = set(range(len(self._columns)))

        def over() -> int:
            return sum(needs[i] + 2 for i in kept) - 1 - width

        needs = list(self._needs)
        for i in sorted(kept, key=lambda i: -self._columns[i].keep):
            if self._columns[i].keep and over() >= 0:
                kept.remove(i)
        for i in kept:
            if over() > 0 and not self._columns[i].uncut:
                needs[i] -= min(over(), max(needs[i] - LEAST, 0))
        spare = max(-over(), 0)
        widths = [needs[i] if i in kept else 0 for i in range(len(needs))]
        for i, column in enumerate(self._columns):
            if widths[i]:
                more = min(spare, max(column.widest - widths[i], 0))
                widths[i], spare = widths[i] + more, spare - more
        return [
            cells + (spare if cells and column.grows else 0)
            for cells, column in zip(widths, self._columns, strict=True)
        ]
