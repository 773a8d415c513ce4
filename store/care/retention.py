"""How long nodes are kept, as it is said and as it is meant."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from spectui.store.clock import now, stamp
from spectui.store.errors import StoreError

ALL, ROUNDS = "all", "rounds"
_DAYS = re.compile(r"(\d{1,5})-?days?|(\d{1,5})d")


def read_retention(text: str) -> str:
    """One way of saying it: "all", "rounds" or "N-days". Raises `StoreError` for anything else."""
    asked = text.strip().lower()
    if asked in (ALL, ROUNDS):
        return asked
    found = _DAYS.fullmatch(asked)
    if not found or not int(found[1] or found[2]):
        raise StoreError(f"--keep-nodes is '{text}'; use {ALL}, {ROUNDS} or a number of days such as 30-days")
    return f"{int(found[1] or found[2])}-days"


def ends_before(retention: str) -> str | None:
    """Prompts that ended before this time are to be pruned; None for none."""
    retention = read_retention(retention)
    if retention == ALL:
        return None
    if retention == ROUNDS:
        return now()
    return stamp(datetime.now(UTC) - timedelta(days=int(retention.removesuffix("-days"))))
