"""Whether somebody is looking."""

from __future__ import annotations

import os
import sys


def has_terminal() -> bool:
    """Whether all three ends are a terminal that can move its cursor, so that a dashboard can be opened.

    It is drawn on standard error: with that in a file the terminal would stay empty, and wait.
    """
    if os.environ.get("TERM", "") in ("dumb", "unknown", ""):
        return False
    try:
        return sys.stdin.isatty() and sys.stdout.isatty() and sys.stderr.isatty()
    except (AttributeError, ValueError):  # None or closed
        return False
