"""Reports written to files: a folder of CSV tables, a page, charts."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from decoding.errors import UsageError
from store.export.text import safe_cell
from store.paths import expanded
from store.report.report import Report
from tui.report.charts import charts
from tui.report.grid import Cell, Column, Grid
from tui.report.page import page
from tui.report.svg import document
from tui.report.tables import subject, tables


def save_as(path: Path, report: Report) -> list[Path]:
    """Write a page, the charts or a folder of tables: ``.html``, ``.svg``, or a name without an ending.

    Returns the paths. Raises `UsageError` when something is there already, for another ending, and when it
    cannot be written.
    """
    path = expanded(path)
    if path.suffix not in ("", ".html", ".svg"):
        raise UsageError(
            f"what is {path.suffix}? .html is a page, .svg the charts, no ending a folder of CSV files"
        )
    if path.exists() and not (path.suffix == "" and path.is_dir() and not any(path.iterdir())):
        raise UsageError(f"{path} is there already; name another place")
    if not path.suffix:
        return write_csv(path, tables(report))
    return [write_page(path, report) if path.suffix == ".html" else write_charts(path, report)]


def write_page(path: Path, report: Report) -> Path:
    """One self-contained page. Raises `UsageError` when it cannot be written."""
    return write(path, page(report))


def write_charts(path: Path, report: Report) -> Path:
    """The charts as one SVG file. Raises `UsageError` when it cannot be written."""
    return write(path, document(charts(report), [subject(report), report.verdict]))


def write_csv(folder: Path, grids: Sequence[Grid]) -> list[Path]:
    """One file a table, named by its key; numbers in full, intervals as two columns. Returns the paths.

    Raises `UsageError` when the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _refused(folder, error) from error
    return [write(folder / f"{grid.key}.csv", csv_text(grid)) for grid in grids]


def csv_text(grid: Grid) -> str:
    """A table as CSV (RFC 4180, lines end in a bare newline); an empty cell is what cannot be known."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([name for column in grid.columns for name in _names(column)])
    for row in grid.rows:
        writer.writerow(
            [value for column, cell in zip(grid.columns, row, strict=True) for value in _values(column, cell)]
        )
    return out.getvalue()


def write(path: Path, text: str) -> Path:
    """Write a file and return its path. Raises `UsageError` when it cannot be written."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise _refused(path, error) from error
    return path


def _names(column: Column) -> tuple[str, ...]:
    return (f"{column.key}_low", f"{column.key}_high") if column.kind == "interval" else (column.key,)


def _values(column: Column, cell: Cell) -> Iterator[Cell]:
    if column.kind == "interval":
        yield from cell if isinstance(cell, tuple) else (None, None)
    else:
        yield safe_cell(cell) if isinstance(cell, str) else cell


def _refused(path: Path, error: OSError) -> UsageError:
    return UsageError(f"cannot write {path}: {error.strerror or error}; name another place")
