"""Times as the store keeps them: UTC, ISO 8601, to the millisecond."""

from __future__ import annotations

from datetime import UTC, datetime


def now() -> str:
    """The time now, such as "2026-03-01T12:00:00.123+00:00"; sorts as text."""
    return stamp(datetime.now(UTC))


def stamp(time: datetime) -> str:
    """A time in UTC as `now` writes it."""
    return time.isoformat(timespec="milliseconds")


def seconds_since(stamped: str | None) -> float | None:
    """Seconds from a stamp until now; None for none, or for one that is not a time."""
    if not stamped:
        return None
    try:
        return (datetime.now(UTC) - datetime.fromisoformat(stamped)).total_seconds()
    except (ValueError, TypeError):
        return None
