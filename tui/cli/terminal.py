"""Whether somebody is looking."""

from __future__ import annotations

import sys


def has_terminal() -> bool:
    """Whether both ends are a terminal, so that a dashboard can be opened."""
    try:
        return sys.stdin.isatty() and sys.stdout.isatty()
    except (AttributeError, ValueError):  # None or closed
        return False
