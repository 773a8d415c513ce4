"""Printing: tables, JSON and single lines, all fit for a terminal."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Container, Sequence
from typing import Any

import click

from spectui.tui.terminal.textsafe import sanitize_line

LEAST = 8
"""Cells that a column of names keeps however narrow the terminal is."""
NOTHING = "–"
"""Stands where there is no number."""


def line(text: str = "", *, err: bool = False) -> None:
    """Print one line; what would steer the terminal is shown as symbols."""
    click.echo(sanitize_line(text), err=err)


def folded(text: str, width: int | None) -> list[str]:
    """`text` on lines of at most `width` columns, broken between words so that no figure is; one line for None."""
    clean = sanitize_line(text)
    return (
        (textwrap.wrap(clean, width, break_long_words=False, break_on_hyphens=False) or [""])
        if width
        else [clean]
    )


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


def terminal_width(*, err: bool = False) -> int | None:
    """Columns of the terminal that is printed to; None when it is none."""
    stream = sys.stderr if err else sys.stdout
    return shutil.get_terminal_size().columns if stream.isatty() else None


def table_lines(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    left: int = 1,
    width: int | None = None,
    beside: Container[int] = (),
) -> list[str]:
    """The lines of `table`. Where they would be longer than `width`, columns come in parts behind the first one, so
    that no figure is broken over two lines; those of `beside` stay with the column before them."""
    from rich.cells import cell_len

    from spectui.tui.terminal.cells import fit

    clean = [[sanitize_line(cell) for cell in row] for row in (head, *rows)]
    widths = [max(cell_len(row[i]) for row in clean) for i in range(len(head))]
    if width is not None:  # names give way, figures do not
        for i in range(1, left):
            widths[i] = min(widths[i], max(width - widths[0] - 2, LEAST))
            for row in clean:
                row[i] = fit(row[i], widths[i]).rstrip()
    lines: list[str] = []
    for part in _parts(widths, width, beside):
        lines += [""] if lines else []
        for row in clean:
            cells = []
            for i in part:
                pad = " " * (widths[i] - cell_len(row[i]))
                cells.append(row[i] + pad if i < left else pad + row[i])
            lines.append("  ".join(cells).rstrip())
    return lines


def _parts(widths: Sequence[int], width: int | None, beside: Container[int]) -> list[list[int]]:
    """The columns of each part of a table of that width."""
    if width is None:
        return [list(range(len(widths)))]
    parts, used, at = [[0]], widths[0], 1
    while at < len(widths):
        end = at + 1
        while end < len(widths) and end in beside:
            end += 1
        needs = sum(widths[at:end]) + 2 * (end - at)
        if used + needs > width and len(parts[-1]) > 1:
            parts.append([0])
            used = widths[0]
        parts[-1] += range(at, end)
        used += needs
        at = end
    return parts


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
