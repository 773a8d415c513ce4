"""The exceptions that `store` raises for faults its user can put right."""

LOCKED = "is locked"
"""The words by which the trouble of a locked database is known."""


class StoreError(Exception):
    """A fault of the database and the remedy, in one line to be shown as it is."""


class DatabaseTrouble(StoreError):  # noqa: N818 - it is what its user sees: a trouble that may pass
    """A fault of the file that may pass: locked, full, read-only, an error of the disk."""


class BadRound(StoreError):  # noqa: N818
    """A round that cannot be recorded because it is wrong in itself: its nodes are no tree."""
