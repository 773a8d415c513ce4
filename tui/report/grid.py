"""Tables as data: text, CSV, HTML and the screen draw the same ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from spectui.tui.terminal.cells import NOTHING, count, number

Pair = tuple[float, float]
Cell = str | int | float | Pair | None
"""A pair is an interval; None is what cannot be known."""


@dataclass(frozen=True)
class Column:
    """One column: its name in files, its heading, and how its cells are written."""

    key: str
    title: str
    kind: Literal["text", "count", "number", "interval"] = "number"
    digits: int = 3
    sign: bool = False
    """True writes a plus before positive numbers."""

    def text(self, cell: Cell) -> str:
        """A cell as it is read by people; intervals as ``0.51 to 0.58``."""
        if cell is None:
            return "" if self.kind == "text" else NOTHING
        if isinstance(cell, str):
            return cell
        if isinstance(cell, tuple):
            return f"{self._number(cell[0])} to {self._number(cell[1])}"
        return count(int(cell)) if self.kind == "count" else self._number(cell)

    def _number(self, value: float) -> str:
        shown = number(value, self.digits)
        if float(shown) == 0:
            shown = shown.removeprefix("-")  # rounded to nothing, which has no sign
        elif self.sign and value > 0:
            shown = f"+{shown}"
        return shown


@dataclass(frozen=True)
class Grid:
    """A titled table. `note` says in a line or two how it is meant."""

    key: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""

    @property
    def head(self) -> tuple[str, ...]:
        """The headings."""
        return tuple(column.title for column in self.columns)

    @property
    def left(self) -> int:
        """Number of columns, from the first, that hold words."""
        return next((i for i, c in enumerate(self.columns) if c.kind != "text"), len(self.columns))

    @property
    def beside(self) -> frozenset[int]:
        """The columns of intervals, each of which belongs to the value before it."""
        return frozenset(
            i for i, each in enumerate(self.columns) if each.key == "ci" or each.key.endswith("_ci")
        )

    def groups(self) -> list[int]:
        """Rows, but for the first, at which another group begins: the column of words that changes least tells."""
        boundaries: list[list[int]] = []
        for at in range(self.left):
            changes = [i for i in range(1, len(self.rows)) if self.rows[i][at] != self.rows[i - 1][at]]
            if 0 < len(changes) < len(self.rows) - 1:
                boundaries.append(changes)
        return min(boundaries, key=len, default=[])

    def texts(self) -> list[list[str]]:
        """The rows as they are read by people."""
        return [
            [column.text(cell) for column, cell in zip(self.columns, row, strict=True)] for row in self.rows
        ]


def grid(
    key: str, title: str, columns: Sequence[Column], rows: Sequence[Sequence[Cell]], note: str = ""
) -> Grid:
    """A `Grid`, without the columns in which no row has anything."""
    used = [i for i in range(len(columns)) if any(row[i] is not None for row in rows)]
    return Grid(
        key, title, tuple(columns[i] for i in used), tuple(tuple(row[i] for i in used) for row in rows), note
    )
