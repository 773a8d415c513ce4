"""Protects: the ways in which `--keep-nodes` says how long nodes are kept."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from spectui.decoding.config import RunConfig, kept_from
from spectui.decoding.errors import UsageError


@pytest.mark.parametrize(
    ("text", "days"), [(" Rounds", 0), ("7-days", 7), ("1-day", 1), ("30d", 30), ("99999-days", 99999)]
)
def test_nodes_are_kept_for_so_many_days(text: str, days: int) -> None:
    time = kept_from(text)
    assert time is not None
    assert abs(datetime.now(UTC) - timedelta(days=days) - time) < timedelta(minutes=1)


def test_all_are_kept_for_ever() -> None:
    assert kept_from("all") is None


@pytest.mark.parametrize("text", ["", "none", "-1-days", "0-days", "days", "3 weeks", "9999999-days"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="use all, rounds or a number of days"):
        RunConfig(keep_nodes=text)
