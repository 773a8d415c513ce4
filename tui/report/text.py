"""A report as lines of text."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from tui.cli.output import line, table_lines
from tui.report.grid import Grid
from tui.textsafe import sanitize_line

if TYPE_CHECKING:
    from store.report.report import Report

WIDTH = 100
"""Columns that notes are folded to."""


def report_lines(report: Report) -> Iterator[str]:
    """What `spectui report` prints."""
    from tui.report.tables import notes, subject, tables

    yield sanitize_line(subject(report))
    yield from map(sanitize_line, notes(report))
    yield ""
    yield from grid_lines(tables(report))
    yield sanitize_line(report.verdict)


def grid_lines(grids: Sequence[Grid]) -> Iterator[str]:
    """Each table under its title, its note below."""
    for grid in grids:
        yield sanitize_line(grid.title)
        yield from table_lines(grid.head, grid.texts(), left=grid.left)
        yield from textwrap.wrap(sanitize_line(grid.note), WIDTH)
        yield ""


def print_grids(grids: Sequence[Grid]) -> None:
    """Print `grid_lines`."""
    for said in grid_lines(grids):
        line(said)
