"""A session's report on one scrolling page: the verdict, what is missing and why, charts, tables."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING

from rich.cells import cell_len
from textual.message import Message

from spectui.tui.navigation.keymap import bindings
from spectui.tui.report.grid import Grid
from spectui.tui.report.pictures import Picture, pictures, task_roles
from spectui.tui.report.tables import facts, notes, report_groups, subject, tables
from spectui.tui.terminal.cells import fitting, pad
from spectui.tui.terminal.glyphs import glyphs
from spectui.tui.terminal.tables import parts
from spectui.tui.terminal.textsafe import sanitize_line
from spectui.tui.widgets.rows import Cell, Row, Rows, row_width
from spectui.tui.widgets.whiskers import LEAST, NAMES, VALUES, picture_rows

if TYPE_CHECKING:
    from spectui.store.analysis.report import Report

PAIRS = (
    ("hazard_off_path", "depths"),
    ("entropy", "correlation"),
    ("predictors", "clustering"),
)
"""Tables that stand beside each other where there is room."""
GAP = 4
TEXT = 110
"""Cells that sentences are folded to at most."""
SHORTEST = 6
"""Cells that the names of a table keep where its figures need the rest."""
_PICTURE = NAMES + VALUES + LEAST + 1


class ReportView(Rows, can_focus=True):
    """The page. It is drawn for the width it has; a table that is wider scrolls sideways."""

    DEFAULT_CSS = "ReportView { overflow-x: auto; scrollbar-size: 0 1; scrollbar-gutter: stable; }"
    BINDINGS = bindings("report_view")

    class Drawn(Message):
        """The page was drawn; `wide` when it scrolls sideways."""

        def __init__(self, *, wide: bool) -> None:
            super().__init__()
            self.wide = wide

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._report: Report | None = None
        self._titles: tuple[int, ...] = ()

    def show(self, report: Report) -> None:
        """Show this report, from its beginning."""
        self._report = report
        self._draw()
        self.scroll_to(0, 0, animate=False)

    def on_resize(self) -> None:
        """Draw for the new width."""
        self._draw()

    def go(self, step: int) -> None:
        """Scroll to the next title or, for -1, to the one before."""
        top = round(self.scroll_offset.y)
        if step > 0:
            title = next((y for y in self._titles if y > top), None)
        else:
            title = next((y for y in reversed(self._titles) if y < top), 0)
        if title is not None:
            self.scroll_to(y=title, animate=False)

    def _draw(self) -> None:
        if self._report is None or not self.room:
            return
        blocks = report_blocks(self._report, self.room)
        rows: list[Row] = []
        titles = []
        for block in blocks:
            if rows:
                rows.append(())
            titles.append(len(rows))
            rows += block
        self._titles = tuple(titles)
        widest = max(map(row_width, rows), default=0)
        self.set_rows(rows, widest if widest > self.room else 0)
        self.post_message(self.Drawn(wide=widest > self.room))


def report_blocks(report: Report, width: int) -> list[list[Row]]:
    """The parts of the page, each under its title, in rows of `width` cells where they can be."""
    roles = task_roles(report_groups(report))
    grids = {grid.key: table_rows(grid, roles, width) for grid in tables(report)}
    drawn = {picture.key: picture for picture in pictures(report)}
    blocks = [_head(report, width)]
    beside = dict(PAIRS)
    done: set[str] = set()
    for key, rows in grids.items():
        if key in done:
            continue
        other = beside.get(key)
        if key in drawn:
            blocks += _with_picture(drawn[key], rows, width)
        elif other in grids and _width(rows) + GAP + _width(grids[other]) <= width:
            blocks.append(_beside(rows, grids[other]))
            done.add(other)
        else:
            blocks.append(rows)
    return blocks


def _with_picture(picture: Picture, table: list[Row], width: int) -> list[list[Row]]:
    room = width - GAP - _width(table)
    if room >= 2 * _PICTURE:
        return [_beside(table, picture_rows(picture, room))]
    return [picture_rows(picture, width), table]


def _head(report: Report, width: int) -> list[Row]:
    rows: list[Row] = [((line, "strong"),) for line in _folded(subject(report), width)]
    for name, line in facts(report):
        room = max(width - len(name) - 2, 1)
        rows.append(((f"{name}  ", "muted"), (fitting(sanitize_line(line).split(", "), room, ", "), "text")))
    rows.append(())
    rows += [((f"{glyphs().axis} ", "accent"), (line, "text")) for line in _folded(report.verdict, width - 2)]
    missing = [(("! " if i == 0 else "  ", "warning"), (line, "text"))
               for note in notes(report) for i, line in enumerate(_folded(note, width - 2))]  # fmt: skip
    return [*rows, (), *missing] if missing else rows


_TO = re.compile(r"(?<=\d) to (?=\d)")
"""Between the ends of an interval; not before a minus, which would make two dashes."""


def table_rows(grid: Grid, roles: dict[str, str], width: int) -> list[Row]:
    """A table under its title, its note below; where it would not fit with narrower gaps and intervals, in parts."""
    texts = [[sanitize_line(cell) for cell in row] for row in (grid.head, *grid.texts())]
    widths = [max(cell_len(row[i]) for row in texts) for i in range(len(grid.columns))]
    gap = "  " if sum(widths) + 2 * (len(widths) - 1) <= width else " "
    if sum(widths) + len(widths) - 1 > width:
        texts = [[_TO.sub(glyphs().nothing, cell) for cell in row] for row in texts]
        widths = [max(cell_len(row[i]) for row in texts) for i in range(len(grid.columns))]
    if len(widths) > 1 and widths[0] + 1 + max(widths[1:]) > width:  # names give way to figures
        widths[0] = max(width - 1 - max(widths[1:]), SHORTEST)
    rows: list[Row] = [((line, "strong"),) for line in _folded(grid.title, width)]
    first = set(grid.groups())
    for number, shown in enumerate(parts(widths, width, gap=1, beside=grid.beside)):
        rows += [()] if number else []
        for place, row in enumerate(texts):
            if place - 1 in first:
                across = sum(widths[i] for i in shown) + len(gap) * (len(shown) - 1)
                rows.append(((glyphs().rule * across, "faint"),))
            cells: list[Cell] = []
            for i in shown:
                role = "muted" if place == 0 else _role(grid, i, row[i], roles)
                # Words may be cut, figures not.
                text = row[i] if cell_len(row[i]) <= widths[i] else fitting([row[i]], widths[i])
                between = gap if i != shown[-1] else ""  # in the cell's own style: fewer bytes to a terminal
                cells.append((pad(text, widths[i], "left" if i < grid.left else "right") + between, role))
            rows.append(tuple(cells))
    rows += [((line, "note"),) for line in _folded(grid.note, min(width, max(_width(rows), 60)))]
    return rows


def _role(grid: Grid, place: int, cell: str, roles: dict[str, str]) -> str:
    column = grid.columns[place]
    if place == 0:
        task = roles.get(cell, "text")
        return f"{task}-name" if task.startswith("task-") else "strong"
    if column.key == "published":
        return "note"
    return "muted" if column.kind == "interval" else "text"


def _beside(left: list[Row], right: Sequence[Row]) -> list[Row]:
    wide = _width(left)
    return [
        (*a, (" " * (wide + GAP - row_width(a)), "text"), *b) if b else a
        for a, b in zip_longest(left, right, fillvalue=())
    ]


def _width(rows: Sequence[Row]) -> int:
    return max(map(row_width, rows), default=0)


def _folded(words: str, width: int) -> list[str]:
    return textwrap.wrap(sanitize_line(words), max(min(width, TEXT), 1))
