"""Printing: tables, JSON and single lines, all fit for a terminal."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from spectui.tui.terminal.cells import NOTHING
from spectui.tui.terminal.tables import folded, table_lines, terminal_width
from spectui.tui.terminal.textsafe import sanitize_line

if TYPE_CHECKING:
    from spectui.tui.report.grid import Grid


def line(text: str = "", *, err: bool = False) -> None:
    """Print one line; what would steer the terminal is shown as symbols."""
    click.echo(sanitize_line(text), err=err)


def prose(text: str) -> None:
    """Print a sentence, in a terminal folded to its width."""
    for said in folded(text, terminal_width()):
        click.echo(said)


def json_line(data: Any, *, indent: int | None = 2) -> None:
    """Print JSON; escapes keep it plain ASCII, so nothing in it can steer a terminal."""
    click.echo(json.dumps(data, indent=indent))


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1, err: bool = False) -> None:
    """Print aligned columns, the first `left` of them to the left and the others to the right.

    In a terminal that is too narrow they come in parts; in a pipe lines stay whole.
    """
    for said in table_lines(head, rows, left=left, width=terminal_width(err=err)):
        click.echo(said, err=err)


def print_grids(grids: Sequence[Grid]) -> None:
    """Print tables under their titles, in parts where the terminal is narrow."""
    from spectui.tui.report.text import grid_lines

    for said in grid_lines(grids, terminal_width()):
        line(said)


def size(value: int) -> str:
    """``332 kB``, ``93 MB``, ``1.3 GB``."""
    if value >= 1e9:
        return f"{value / 1e9:,.1f} GB"
    return f"{value / 1e6:,.0f} MB" if value >= 1e6 else f"{value / 1e3:,.0f} kB"


def duration(seconds: float | None) -> str:
    """``0:03:12``."""
    if seconds is None:
        return NOTHING
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def amount(done: float | None, total: float | None, unit: str) -> str:
    """``31.6 of 92.9 MB (34%)``; empty when nothing is known."""
    if not done and not total:
        return ""
    if not total:
        return f"{done:,.1f} {unit}".rstrip()
    done = done or 0.0
    plain = float(total).is_integer() and float(done).is_integer()
    shown = f"{done:,.0f} of {total:,.0f}" if plain else f"{done:,.1f} of {total:,.1f}"
    return f"{shown} {unit}".rstrip() + f" ({min(done / total, 1):.0%})"
