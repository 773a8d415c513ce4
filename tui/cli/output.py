"""Printing: tables, JSON and single lines, all fit for a terminal."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click

from tui.textsafe import sanitize_line

NOTHING = "–"
"""Stands where there is no number."""


def line(text: str = "", *, err: bool = False) -> None:
    """Print one line; what would steer the terminal is shown as symbols."""
    click.echo(sanitize_line(text), err=err)


def json_line(data: Any, *, indent: int | None = 2) -> None:
    """Print JSON; escapes keep it plain ASCII, so nothing in it can steer a terminal."""
    click.echo(json.dumps(data, indent=indent))


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1, err: bool = False) -> None:
    """Print aligned columns, the first `left` of them to the left and the others to the right."""
    for said in table_lines(head, rows, left=left):
        click.echo(said, err=err)


def table_lines(head: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> list[str]:
    """The lines of `table`."""
    from rich.cells import cell_len

    clean = [[sanitize_line(cell) for cell in row] for row in (head, *rows)]
    widths = [max(cell_len(row[i]) for row in clean) for i in range(len(head))]
    lines = []
    for row in clean:
        cells = []
        for i, (cell, width) in enumerate(zip(row, widths, strict=True)):
            pad = " " * (width - cell_len(cell))
            cells.append(cell + pad if i < left else pad + cell)
        lines.append("  ".join(cells).rstrip())
    return lines


def count(value: int | None) -> str:
    """``1,234``."""
    return NOTHING if value is None else f"{value:,}"


def number(value: float | None, digits: int = 2) -> str:
    """``1.42``."""
    return NOTHING if value is None else f"{value:.{digits}f}"


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
