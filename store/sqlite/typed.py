"""Type checks of rows: SQLite lets any column hold anything, and what draws a row trusts it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from spectui.store.errors import StoreError

_KINDS: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (float, int),
    "str": (str,),
    "bool": (int,),
    "None": (type(None),),
    "Probability": (float, int),
    "Nats": (float, int),
}

UNSOUND = (ValueError, TypeError, LookupError, ArithmeticError, AttributeError)
"""Exceptions of computing with values of another kind than spectui writes, where they were not checked."""


def declared(row: type) -> dict[str, str]:
    """The names and types of a dataclass's fields."""
    return {field.name: str(field.type) for field in fields(row)}


class Typed:
    """Checks rows of some columns, each with a name and the type that a dataclass declares for it.

    Types that are none of SQLite's (columns of JSON) are left to their readers. With `finite`, numbers are
    also none that cannot be counted with. A row costs a microsecond: most have the types of one before.
    """

    def __init__(self, what: str, columns: Mapping[str, str], *, finite: bool = False) -> None:
        self._what = what
        self._finite = finite
        self._columns = [(name, _allowed_types(declared)) for name, declared in columns.items()]
        self._sound: set[tuple[type, ...]] = set()

    def checked(self, rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        """The rows. Raises `StoreError` when one holds a value of another type."""
        for row in rows:
            kinds = tuple(map(type, row))
            if kinds not in self._sound:
                self._check_types(kinds)
                self._sound.add(kinds)
            if self._finite:
                for value in row:
                    if value.__class__ is float and value - value:  # infinite
                        raise self._damaged("number too large")
        return rows

    def _check_types(self, kinds: Sequence[type]) -> None:
        for (name, able), kind in zip(self._columns, kinds, strict=True):
            if able and kind not in able:
                raise self._damaged(f"{name} of type {kind.__name__}")

    def _damaged(self, holds: str) -> StoreError:
        return StoreError(
            f"the database is damaged: {self._what} has a {holds}; 'spectui doctor --db FILE' says more"
        )


def _allowed_types(declared: str) -> set[type]:
    """The types that a column may have; none: any."""
    parts = declared.split(" | ")
    return (
        {kind for part in parts for kind in _KINDS[part]} if all(part in _KINDS for part in parts) else set()
    )
