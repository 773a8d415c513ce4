"""A table with a cursor whose columns give way when the terminal is narrow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from textual import events
from textual.binding import Binding
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip

from tui.cells import Align, fit
from tui.widgets.rows import Cell, Row, Rows

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
    grows: bool = False
    """Takes the space that is left; one column of a table may."""


class Table(Rows, Generic[Item], can_focus=True, inherit_bindings=False):
    """Rows of items under a heading. Items are known by a key, so that the cursor stays on its item."""

    DEFAULT_CSS = "Table { scrollbar-gutter: stable; }"
    BINDINGS = [  # noqa: RUF012
        Binding("up,k", "move(-1)", show=False),
        Binding("down,j", "move(1)", show=False),
        Binding("pageup", "page(-1)", show=False),
        Binding("pagedown", "page(1)", show=False),
        Binding("home,g", "edge(0)", show=False),
        Binding("end,G", "edge(1)", show=False),
        Binding("enter", "choose", show=False),
    ]

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
        self._items: tuple[Item, ...] = ()
        self._cursor = 0

    @property
    def cursor_item(self) -> Item | None:
        """The item under the cursor."""
        return self._items[self._cursor] if self._items else None

    def show(self, items: Sequence[Item]) -> None:
        """Show these items; the cursor follows the item it was on."""
        held = self._key(self._items[self._cursor]) if self._items else None
        self._items = tuple(items)
        keys = [self._key(item) for item in self._items]
        cursor = keys.index(held) if held in keys else min(self._cursor, max(len(keys) - 1, 0))
        self._draw()
        self._set_cursor(cursor)

    def select(self, key: int) -> None:
        """Put the cursor on the item of that key."""
        for index, item in enumerate(self._items):
            if self._key(item) == key:
                self._set_cursor(index)

    def on_resize(self) -> None:
        """Lay out for the new width."""
        self._draw()
        self._reveal()

    def on_click(self, event: events.Click) -> None:
        """A click moves the cursor; on the cursor's row it opens."""
        index = event.y - 1 + self.scroll_offset.y
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
        if y == 0:
            if not self.rows:
                return Strip.blank(width, self.base)
            return self._strip(self.rows[0]).crop_extend(0, width, self.base)
        index = y + self.scroll_offset.y
        if index >= len(self.rows):
            return Strip.blank(width, self.base)
        row = self.rows[index]
        if index - 1 == self._cursor:
            row = (*((text, f"{role} cursor") for text, role in row), (" " * width, "cursor"))
        return self._strip(row).crop_extend(0, width, self.base)

    def _set_cursor(self, index: int) -> None:
        index = min(max(index, 0), max(len(self._items) - 1, 0))
        old, self._cursor = self._cursor, index
        if old != index:
            for moved in (old, index):
                self.refresh(Region(0, moved + 1 - self.scroll_offset.y, self.size.width, 1))
        self._reveal()

    def _reveal(self) -> None:
        top, visible = self.scroll_offset.y, self.size.height - 1
        if visible < 1:
            return
        if self._cursor < top:
            self.scroll_to(y=self._cursor, animate=False)
        elif self._cursor >= top + visible:
            self.scroll_to(y=self._cursor - visible + 1, animate=False)

    def _draw(self) -> None:
        width = self.room
        if not width:
            return
        widths = self._layout(width)
        heading: list[Cell] = []
        for column, cells in zip(self._columns, widths, strict=True):
            if cells:
                heading.append((fit(column.title, cells, column.align) + "  ", "muted"))
        rows: list[Row] = [tuple(heading)]
        for item in self._items:
            row: list[Cell] = []
            for column, cells in zip(self._columns, widths, strict=True):
                if cells:
                    text, role = column.cell(item)
                    row.append((fit(text, cells, column.align) + "  ", role))
            rows.append(tuple(row))
        self.set_rows(rows)

    def _layout(self, width: int) -> list[int]:
        """Cells of each column, 0 for those that had to go."""
        kept = list(self._columns)
        while len(kept) > 1 and sum(c.width + 2 for c in kept) > width:
            last = max(kept, key=lambda c: c.keep)
            if last.keep == 0:
                break
            kept.remove(last)
        spare = max(width - sum(c.width + 2 for c in kept) + 1, 0)
        return [
            (column.width + (spare if column.grows else 0)) if column in kept else 0
            for column in self._columns
        ]
