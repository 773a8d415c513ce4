"""Reports written to files: a folder of CSV tables, a page, charts."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from decoding.errors import UsageError
from tui.report.grid import Cell, Column, Grid


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
    elif isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@", "\t", "\r"):
        yield f"'{cell}"  # a spreadsheet would run it as a formula
    else:
        yield cell


def _refused(path: Path, error: OSError) -> UsageError:
    return UsageError(f"cannot write {path}: {error.strerror or error}; name another place")
