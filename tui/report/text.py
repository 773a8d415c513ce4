"""A report as lines of text."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from spectui.tui.report.grid import Grid
from spectui.tui.terminal.tables import folded, table_lines
from spectui.tui.terminal.textsafe import sanitize_line

if TYPE_CHECKING:
    from spectui.store.analysis.report import Report

WIDTH = 100
"""Columns that notes are folded to."""


def report_lines(report: Report, width: int | None = None) -> Iterator[str]:
    """The lines that `spectui report` prints; folded to `width` columns where it is a terminal."""
    from spectui.tui.report.tables import notes, subject, tables

    for sentence in (subject(report), *notes(report)):
        yield from folded(sentence, width)
    yield ""
    yield from grid_lines(tables(report), width)
    yield from folded(report.verdict, width)


def grid_lines(grids: Sequence[Grid], width: int | None = None) -> Iterator[str]:
    """Each table under its title, its note below; in parts where it is wider than `width`."""
    for grid in grids:
        yield sanitize_line(grid.title)
        yield from table_lines(grid.head, grid.texts(), left=grid.left, width=width, beside=grid.beside)
        yield from textwrap.wrap(sanitize_line(grid.note), min(WIDTH, width or WIDTH))
        yield ""
