"""Tables as lines of a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from tui.cli.output import line, table
from tui.report.grid import Grid

WIDTH = 100
"""Columns that notes are folded to."""


def print_grids(grids: Sequence[Grid]) -> None:
    """Each table under its title, its note below."""
    for grid in grids:
        line(grid.title)
        table(grid.head, grid.texts(), left=grid.left)
        for text in textwrap.wrap(grid.note, WIDTH):
            line(text)
        line()
