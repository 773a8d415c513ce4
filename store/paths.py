"""Where the database is when the user does not say."""

from __future__ import annotations

import os
from pathlib import Path


def default_database() -> Path:
    """``SPECTUI_DB`` when set, else ``spectui.db`` in the user's data directory."""
    override = os.environ.get("SPECTUI_DB")
    if override:
        return Path(override).expanduser()
    import platformdirs

    return Path(platformdirs.user_data_dir("spectui")) / "spectui.db"
