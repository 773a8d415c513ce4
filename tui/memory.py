"""The memory of the dashboard from one time to the next: theme, layout. Losing it costs nothing.

Screens take what they remember when they are mounted, so that the next one opened looks as the last one did.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from spectui.store.errors import StoreError
from spectui.store.files import write_text
from spectui.store.paths import expanded, user_folder


def memory_path() -> Path | None:
    """``SPECTUI_STATE`` when set, else ``dashboard.json`` in the user's state directory; None without a home."""
    override = os.environ.get("SPECTUI_STATE")
    if override:
        return expanded(override)
    with contextlib.suppress(StoreError):
        return user_folder("state", "SPECTUI_STATE") / "dashboard.json"
    return None


SHOWN_CHART = "chart"
"""The name of the chart in the panes of a session and on the whole screen."""
COMPARED_CHART = "chart of a comparison"
REJECTED = "rejected drafts"
"""True when they are shown in the text."""
SORTED_BY, FALLING = "sessions by", "sessions falling"
"""The title of the column, and whether from the highest down."""
SUMMARY = "summary of a session"
"""True when it stands beside the list."""


class Memory:
    """Names and values in a small file; without one, they are forgotten at the end.

    The file is replaced as a whole and readable by its owner alone. One that cannot be read or written is
    no error: the dashboard then looks as it does the first time.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._values = self._read()

    def get(self, name: str, kind: type, default: Any = None) -> Any:
        """The value remembered, `default` when there is none or it is of another type."""
        value = self._values.get(name, default)
        fits = isinstance(value, kind) and isinstance(value, bool) == (kind is bool)
        return value if fits else default

    def remember(self, name: str, value: str | int | bool) -> None:
        """Remember it from now on, in the file too."""
        if self._values.get(name) == value:
            return
        self._values[name] = value
        if self._path is not None:
            # Another dashboard may have written since: keep what it remembered.
            with contextlib.suppress(OSError):
                text = json.dumps({**self._read(), name: value}, indent=1, sort_keys=True)
                write_text(self._path, text + "\n", sync=False)

    def _read(self) -> dict[str, Any]:
        try:
            values = json.loads(self._path.read_text(encoding="utf-8")) if self._path else {}
        except (OSError, ValueError):
            return {}
        return values if isinstance(values, dict) else {}
