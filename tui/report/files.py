"""Reports written to files: a folder of CSV tables, a page, charts."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from spectui.decoding.errors import UsageError
from spectui.store.analysis.report import Report
from spectui.store.export.text import safe_cell
from spectui.store.files import check_free, new_file, new_folder
from spectui.store.paths import expanded
from spectui.tui.report.charts import charts
from spectui.tui.report.grid import Cell, Column, Grid
from spectui.tui.report.page import page
from spectui.tui.report.svg import document
from spectui.tui.report.tables import subject, tables


def save_as(path: Path, report: Report) -> list[Path]:
    """Write a page, the charts or a folder of tables: ``.html``, ``.svg``, or a name without an ending.

    Returns the paths. Raises `UsageError` for another ending, and `StoreError` when something is there already and
    when it cannot be written.
    """
    path = expanded(path)
    if path.suffix not in ("", ".html", ".svg"):
        raise UsageError(
            f"what is {path.suffix}? .html is a page, .svg the charts, no ending a folder of CSV files"
        )
    if not path.suffix:
        return write_csv(path, tables(report), force=None)
    write = write_page if path.suffix == ".html" else write_charts
    return [write(path, report, force=None)]


def check_places(folder: Path | None, *files: Path | None, force: bool) -> None:
    """Raise `StoreError` where a place is taken, before the report is worked out."""
    if folder is not None:
        check_free(folder, force=force, names=())
    for path in files:
        if path is not None:
            check_free(path, force=force)


def write_page(path: Path, report: Report, *, force: bool | None = False) -> Path:
    """One self-contained page, written as `store.files.new_file` does."""
    return _write(path, page(report), force)


def write_charts(path: Path, report: Report, *, force: bool | None = False) -> Path:
    """The charts as one SVG file, written as `store.files.new_file` does."""
    return _write(path, document(charts(report), [subject(report), report.verdict]), force)


def write_csv(folder: Path, grids: Sequence[Grid], *, force: bool | None = False) -> list[Path]:
    """One file a table, named by its key; numbers in full, intervals as two columns. Returns the paths.

    Written as `store.files.new_folder` does.
    """
    texts = {f"{grid.key}.csv": csv_text(grid) for grid in grids}
    with new_folder(folder, list(texts), force=force) as draft:
        for name, text in texts.items():
            (draft / name).write_text(text, encoding="utf-8")
    return [folder / name for name in texts]


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


def _write(path: Path, text: str, force: bool | None) -> Path:
    with new_file(path, force=force) as draft:
        draft.write_text(text, encoding="utf-8")
    return path


def _names(column: Column) -> tuple[str, ...]:
    return (f"{column.key}_low", f"{column.key}_high") if column.kind == "interval" else (column.key,)


def _values(column: Column, cell: Cell) -> Iterator[Cell]:
    if column.kind == "interval":
        yield from cell if isinstance(cell, tuple) else (None, None)
    else:
        yield safe_cell(cell) if isinstance(cell, str) else cell
