"""Default places: the database, and the user's own folders."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from spectui.store.errors import StoreError

Kind = Literal["cache", "config", "data", "log", "state"]


def default_database() -> Path:
    """``SPECTUI_DB`` when set, else ``spectui.db`` in the user's data directory. Raises `StoreError` without one."""
    override = os.environ.get("SPECTUI_DB")
    return expanded(override) if override else user_folder("data", "--db") / "spectui.db"


def user_folder(kind: Kind, instead: str) -> Path:
    """The user's folder of this kind. Raises `StoreError`, naming `instead`, where there is no home."""
    import platformdirs

    try:
        return Path(getattr(platformdirs, f"user_{kind}_dir")("spectui"))
    except RuntimeError as error:
        raise StoreError(f"there is no home folder to keep {kind} in; set HOME, or {instead}") from error


def expanded(path: Path | str) -> Path:
    """`path` with a ``~`` replaced by the home it means; as it is where there is no such home."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)
