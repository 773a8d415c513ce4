"""Whether somebody is looking."""

from __future__ import annotations

import os
import sys


def has_terminal() -> bool:
    """Whether both ends are a terminal that can move its cursor, so that a dashboard can be opened."""
    if os.environ.get("TERM", "") in ("dumb", "unknown", ""):
        return False
    try:
        return sys.stdin.isatty() and sys.stdout.isatty()
    except (AttributeError, ValueError):  # None or closed
        return False
