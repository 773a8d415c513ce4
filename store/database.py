"""Opening database files."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, Union

if TYPE_CHECKING:
    from sqlite_utils import Database

Connection: TypeAlias = Union["Database", sqlite3.Connection]
"""What the functions of `store` take as a database: either kind of opened file."""


def connect(
    path: Path | str, *, create: bool = True, read_only: bool = False, timeout: float = 10.0
) -> sqlite3.Connection:
    """`open_database` without importing sqlite-utils (0.2 s) unless a schema has to be written."""
    raise NotImplementedError


def open_database(
    path: Path | str, *, create: bool = True, read_only: bool = False, timeout: float = 10.0
) -> Database:
    """Open a database file, creating or upgrading it where needed."""
    raise NotImplementedError
