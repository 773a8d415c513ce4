"""Tables and sentences laid out in a terminal's width."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Container, Sequence

from rich.cells import cell_len

from spectui.tui.terminal.cells import fit
from spectui.tui.terminal.textsafe import sanitize_line

LEAST = 8
"""Cells that a column of names keeps however narrow the terminal is."""


def terminal_width(*, err: bool = False) -> int | None:
    """Columns of the terminal that is printed to; None when it is none."""
    stream = sys.stderr if err else sys.stdout
    return shutil.get_terminal_size().columns if stream.isatty() else None


def folded(text: str, width: int | None) -> list[str]:
    """`text` on lines of at most `width` columns, broken between words so that no figure is; one line for None."""
    clean = sanitize_line(text)
    return (
        (textwrap.wrap(clean, width, break_long_words=False, break_on_hyphens=False) or [""])
        if width
        else [clean]
    )


def table_lines(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    left: int = 1,
    width: int | None = None,
    beside: Container[int] = (),
) -> list[str]:
    """Aligned columns as lines, the first `left` of them to the left and the others to the right.

    Where lines would be longer than `width`, columns come in parts (see `parts`), so that no figure is broken.
    """
    clean = [[sanitize_line(cell) for cell in row] for row in (head, *rows)]
    widths = [max(cell_len(row[i]) for row in clean) for i in range(len(head))]
    if width is not None:  # names give way, figures do not
        for i in range(1, left):
            widths[i] = min(widths[i], max(width - widths[0] - 2, LEAST))
            for row in clean:
                row[i] = fit(row[i], widths[i]).rstrip()
    lines: list[str] = []
    for part in parts(widths, width, gap=2, beside=beside):
        lines += [""] if lines else []
        for row in clean:
            cells = []
            for i in part:
                pad = " " * (widths[i] - cell_len(row[i]))
                cells.append(row[i] + pad if i < left else pad + row[i])
            lines.append("  ".join(cells).rstrip())
    return lines


def parts(
    widths: Sequence[int], width: int | None, *, gap: int, beside: Container[int] = ()
) -> list[list[int]]:
    """The columns of each part of a table of that `width`: each part begins with the first column.

    Columns of `beside` stay with the one before them, where there is room for both at all.
    """
    if width is None:
        return [list(range(len(widths)))]
    divided, used, at = [[0]], widths[0], 1
    while at < len(widths):
        end = at + 1
        while end < len(widths) and end in beside:
            end += 1
        if widths[0] + sum(widths[at:end]) + gap * (end - at) > width:
            end = at + 1
        needs = sum(widths[at:end]) + gap * (end - at)
        if used + needs > width and len(divided[-1]) > 1:
            divided.append([0])
            used = widths[0]
        divided[-1] += range(at, end)
        used += needs
        at = end
    return divided
