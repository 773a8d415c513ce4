"""The exported tables: their columns as the schema has them, and their rows in order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from spectui.store.reading.reader import Reader
from spectui.store.records import NODE_FLAGS

Kind = Literal["integer", "real", "text", "flag", "bytes"]
Rows = list[tuple[Any, ...]]

TABLES = ("generation", "round", "node")
CHUNK = 20_000
"""Rows held at a time: some 10 MB of nodes."""

_KINDS: dict[str, Kind] = {"INTEGER": "integer", "REAL": "real", "TEXT": "text", "BLOB": "bytes"}

# CROSS JOIN keeps the order of the loops, which is that of the indexes: nothing has to be sorted.
_FROM = {
    "generation": "generation",
    "round": "generation CROSS JOIN round ON round.generation_id = generation.id",
    "node": "generation CROSS JOIN round ON round.generation_id = generation.id"
    " CROSS JOIN node ON node.round_id = round.id",
}
_ORDER = {"generation": "position", "round": "position, number", "node": "position, number, idx"}


@dataclass(frozen=True)
class Column:
    """A column and the kind of its values; each may be NULL, which reads None."""

    name: str
    kind: Kind


def columns(reader: Reader, table: str) -> tuple[Column, ...]:
    """The columns of one of `TABLES`, in the schema's order. Raises `StoreError` when it cannot be read."""
    declarations = reader.fetch("SELECT name, type FROM pragma_table_info(?)", table)
    return tuple(
        Column(name, "flag" if table == "node" and name in NODE_FLAGS else _KINDS[declared])
        for name, declared in declarations
    )


def select(table: str, names: tuple[str, ...]) -> str:
    """SQL for these columns of one of `TABLES`, for the session that is its one parameter, in running order."""
    wanted = ", ".join(f'{table}."{name}"' for name in names)
    return f"SELECT {wanted} FROM {_FROM[table]} WHERE generation.session_id = ? ORDER BY {_ORDER[table]}"


def rows(reader: Reader, table: str, names: tuple[str, ...], session_id: int) -> Iterator[Rows]:
    """The rows of one of `TABLES` in chunks; call within the reader's `snapshot`."""
    return reader.scan(select(table, names), session_id, chunk=CHUNK)
