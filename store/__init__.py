"""The record of every session: one SQLite database that a worker writes and any number of views read."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spectui.store.counts.metrics import Interval as Interval
    from spectui.store.database import open_database as open_database
    from spectui.store.errors import StoreError as StoreError
    from spectui.store.reading.reader import Reader as Reader
    from spectui.store.writing.writer import SessionWriter as SessionWriter

_HOMES = {
    "Interval": "counts.metrics",
    "Reader": "reading.reader",
    "SessionWriter": "writing.writer",
    "StoreError": "errors",
    "open_database": "database",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> object:
    """A public name, imported from its module on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
