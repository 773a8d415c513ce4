"""Printing: tables, JSON, single lines and progress, all fit for a terminal."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from spectui.tui.terminal.cells import NOTHING
from spectui.tui.terminal.tables import folded, table_lines, terminal_width
from spectui.tui.terminal.textsafe import sanitize_line

if TYPE_CHECKING:
    from spectui.tui.report.grid import Grid

CELLS = 30
"""Width of a bar."""
LINE_S = 2.0
"""Without a terminal, progress is a line this often."""


def line(text: str = "", *, err: bool = False) -> None:
    """Print one line; what would steer the terminal is shown as symbols."""
    click.echo(sanitize_line(text), err=err)


def prose(text: str) -> None:
    """Print a sentence, in a terminal folded to its width."""
    for each in folded(text, terminal_width()):
        click.echo(each)


def json_line(data: Any, *, indent: int | None = 2) -> None:
    """Print JSON; escapes keep it plain ASCII, so nothing in it can steer a terminal."""
    click.echo(json.dumps(data, indent=indent))


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1, err: bool = False) -> None:
    """Print aligned columns, the first `left` of them to the left and the others to the right.

    In a terminal that is too narrow they come in parts; in a pipe lines stay whole.
    """
    for each in table_lines(head, rows, left=left, width=terminal_width(err=err)):
        click.echo(each, err=err)


def print_grids(grids: Sequence[Grid]) -> None:
    """Print tables under their titles, in parts where the terminal is narrow."""
    from spectui.tui.report.text import grid_lines

    for each in grid_lines(grids, terminal_width()):
        line(each)


def duration(seconds: float | None) -> str:
    """``0:03:12``; of less than ten seconds ``4.2 s``."""
    if seconds is None:
        return NOTHING
    if seconds < 10:
        return f"{seconds:.1f} s"
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


class Bar:
    """A bar on stderr in a terminal, a line now and then elsewhere; nothing in the first `delay` seconds."""

    def __init__(self, delay: float = 0.0) -> None:
        self._begin = time.monotonic() + delay
        self._terminal = sys.stderr.isatty()
        self._stage = ""
        self._shown = 0.0
        self._open = False

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        if self._open:
            click.echo(err=True)

    def __call__(self, stage: str, done: float, total: float, unit: str) -> None:
        """Say how far `stage` is."""
        now = time.monotonic()
        fresh = stage != self._stage
        complete = bool(total) and done >= total
        if now < self._begin:
            return
        if not fresh and not complete and now - self._shown < (0.1 if self._terminal else LINE_S):
            return
        self._shown = now
        text = f"{stage}  {amount(done, total, unit)}".rstrip()
        if not self._terminal:
            if fresh or not complete:
                line(text, err=True)
            self._stage = stage
            return
        if fresh and self._open:
            click.echo(err=True)
        self._stage = stage
        cells = round(CELLS * done / total) if total else 0
        bar = f"{'█' * cells}{'░' * (CELLS - cells)}  " if total else ""
        click.echo(f"\r\x1b[2K{bar}{text}", err=True, nl=False)
        self._open = True
