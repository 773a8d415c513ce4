"""Words of servers, made fit to be shown."""

from __future__ import annotations


def clean(text: str, most: int = 200) -> str:
    """A server's words in one line, without what would steer a terminal."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:most]
