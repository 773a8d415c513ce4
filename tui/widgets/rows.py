"""Rows of styled cells that repaint only what changed: the base of every chart, table and line.

Textual repaints dirty regions whole and keeps no diff of its own, so the diff is made here: a row
that reads as before is never sent to the terminal again.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.content import Content
from textual.geometry import Region, Size
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widget import Widget

from spectui.tui.terminal.theme import styles

Cell = tuple[str, str]
"""Text that is safe to draw, and the role it is drawn in (see `tui.terminal.theme.styles`)."""

Row = tuple[Cell, ...]


PANE_FRAME = 4
"""Cells of a pane's width that what is in it does not get: its border and padding."""
TITLE_FRAME = 6
"""Cells of a pane's width that a title in its border does not get: corners, rules, spaces."""


def row_width(row: Row) -> int:
    """Terminal cells that a row takes."""
    return sum(cell_len(text) for text, _ in row)


def set_scroll_size(view: ScrollView, size: Size) -> None:
    """Tell a view how much there is to scroll, without the layout that assigning `virtual_size` costs.

    A layout repaints the scrollbar of every view on the screen; only a scrollbar that comes or goes needs one.
    """
    if size == view.virtual_size:
        return
    inner = view.scrollable_content_region.size
    comes = size.height > inner.height and not view.show_vertical_scrollbar
    goes = size.height <= inner.height and view.show_vertical_scrollbar
    if size.width != view.virtual_size.width or (view.styles.overflow_y == "auto" and (comes or goes)):
        view.virtual_size = size
        return
    view.set_reactive(ScrollView.virtual_size, size)
    if view.show_vertical_scrollbar:
        view.vertical_scrollbar.window_virtual_size = size.height
        view.vertical_scrollbar.window_size = inner.height


def set_title(pane: Widget, text: str) -> None:
    """Write the title of a pane's border, repainting that row alone: Textual's own way sends the whole pane.

    The text is drawn as it is, markup in it included.
    """
    title = Content(text)
    if pane._border_title != title:
        pane._border_title = title
        x, y = pane.content_offset
        pane.refresh(Region(-x, -y, pane.outer_size.width, 1))


class LineView(ScrollView):
    """A view that draws line by line and asks for its own style once, not at every line.

    `rich_style` walks all ancestors; it was a quarter of what the live screen computes. A scrollbar that
    comes stands where the view does: Textual moves it only while it is there.
    """

    _base: Style | None = None

    @property
    def base(self) -> Style:
        """`rich_style` until the next change of style."""
        if self._base is None:
            self._base = self.rich_style
        return self._base

    def notify_style_update(self) -> None:
        """Ask again: the theme or the focus may have changed."""
        self._base = None
        super().notify_style_update()

    def watch_show_vertical_scrollbar(self, shown: bool) -> None:
        """Put a scrollbar that comes where the view has been scrolled to before."""
        if shown:
            self.vertical_scrollbar.position = self.scroll_y


class Rows(LineView):
    """A scrollable list of rows. Set them with `set_rows`; each is cropped to the width.

    A role of ``"a b"`` is style a under style b.
    """

    ALLOW_SELECT = False
    DEFAULT_CSS = """
    Rows {
        height: 1fr;
        overflow-x: hidden;
        overflow-y: auto;
        scrollbar-size: 1 1;
    }
    """

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._rows: tuple[Row, ...] = ()
        self._strips: dict[Row, Strip] = {}

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rows that are shown."""
        return self._rows

    @property
    def room(self) -> int:
        """Cells that a row may take, the scrollbar's left out."""
        return self.scrollable_content_region.width

    @property
    def text(self) -> str:
        """The rows that are shown, as plain text."""
        return "\n".join("".join(text for text, _ in row) for row in self.rows)

    def set_rows(self, rows: Sequence[Row], width: int = 0) -> None:
        """Show these rows, repainting those that differ from what stood there."""
        old, self._rows = self._rows, tuple(rows)
        set_scroll_size(self, Size(width, len(self._rows)))
        top = self.scroll_offset.y
        for y, (before, after) in enumerate(zip_longest(old, self._rows)):
            if before != after:
                self.refresh(Region(0, y - top, self.size.width, 1))

    def style_of(self, role: str) -> Style:
        """The style of a role in the theme in force."""
        known = styles(self.app.theme)
        style = Style.null()
        for part in role.split():
            style += known[part]
        return style

    def notify_style_update(self) -> None:
        """Forget drawn rows: the theme may have changed."""
        self._strips.clear()
        super().notify_style_update()

    def render_line(self, y: int) -> Strip:
        """Line `y` of the visible part."""
        x, top = self.scroll_offset
        index = y + top
        width = self.size.width
        if index >= len(self._rows):
            return Strip.blank(width, self.base)
        return self._strip(self._rows[index]).crop_extend(x, x + width, self.base).simplify()

    def _strip(self, row: Row) -> Strip:
        strip = self._strips.get(row)
        if strip is None:
            if len(self._strips) > 512:
                self._strips.clear()
            segments = [Segment(text, self.base + self.style_of(role)) for text, role in row if text]
            strip = self._strips[row] = Strip(Segment.simplify(segments)) if segments else Strip([])
        return strip


class Line(Rows):
    """Rows of a fixed height that never scroll and take no focus."""

    can_focus = False
    DEFAULT_CSS = """
    Line { height: 1; overflow: hidden hidden; }
    """
