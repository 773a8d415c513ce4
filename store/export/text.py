"""Rows as lines of CSV or JSON: numbers in full, so that they read back as they were."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from spectui.store.export.tables import Column, Rows
from spectui.store.files import private_file

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""Characters that a spreadsheet takes for the start of a formula, or skips to find one."""

_ESCAPED = (*FORMULA, "'")


class TextFile:
    """One table in one file (0600, UTF-8), a line a row."""

    def __init__(self, path: Path, columns: Sequence[Column]) -> None:
        self._file = os.fdopen(private_file(path), "w", encoding="utf-8", newline="\n")
        self._columns = columns

    def write(self, rows: Rows) -> None:
        """Add rows, whose values are in the order of the columns."""
        raise NotImplementedError

    def close(self) -> None:
        """Write the rest. Raises `OSError` when there is no room for it."""
        self._file.close()


class CsvFile(TextFile):
    """RFC 4180 with bare newlines: text in quotes, numbers and flags (0, 1) without, NULL an empty cell."""

    def __init__(self, path: Path, columns: Sequence[Column]) -> None:
        super().__init__(path, columns)
        self._cells: list[Callable[[Any], str]] = [_text if c.kind == "text" else repr for c in columns]
        self._file.write(",".join(column.name for column in columns) + "\n")

    def write(self, rows: Rows) -> None:
        """Add rows."""
        cells = self._cells
        self._file.writelines(
            ",".join(["" if v is None else cell(v) for cell, v in zip(cells, row, strict=True)]) + "\n"
            for row in rows
        )


class JsonFile(TextFile):
    """An object a line, plain ASCII: whatever a model wrote, printing it cannot steer a terminal."""

    def __init__(self, path: Path, columns: Sequence[Column]) -> None:
        super().__init__(path, columns)
        self._names = [column.name for column in columns]
        self._flags = [index for index, column in enumerate(columns) if column.kind == "flag"]
        self._encode = json.JSONEncoder(separators=(",", ":")).encode

    def write(self, rows: Rows) -> None:
        """Add rows."""
        for row in rows:
            values = dict(zip(self._names, row, strict=True))
            for index in self._flags:
                values[self._names[index]] = bool(row[index])
            self._file.write(self._encode(values) + "\n")


def safe_cell(text: str) -> str:
    """`text` with ``'`` before it where it starts like a formula or with ``'``; take one off to read it back."""
    return f"'{text}" if text.startswith(_ESCAPED) else text


def _text(value: str) -> str:
    return '"' + safe_cell(value).replace('"', '""') + '"'
