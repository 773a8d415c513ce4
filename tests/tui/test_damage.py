"""Protects: what a damaged database holds in place of numbers is said, and never ends the dashboard."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import pytest

from spectui.store.errors import StoreError
from spectui.store.reading.reader import Reader
from spectui.tui.feeds.base import IDLE_SECONDS
from spectui.tui.feeds.session import SessionFeed
from tests.fuzz.screens import walk
from tests.fuzz.strategies import sound_database
from tests.waiting import until

HOSTILE = "\x1b]0;title\x1b\\%s"
EVERYTHING = (
    ("session", "prompt_count", HOSTILE), ("session", "cpu_percent", float("inf")),
    ("generation", "match_count", HOSTILE), ("generation", "draft_ms", float("inf")),
    ("round", "accepted_length", HOSTILE), ("node", "target_p", HOSTILE), ("node", "depth", b"\x00"),
    ("rollup_task", "rounds", HOSTILE), ("rollup_length", "rounds", HOSTILE), ("rollup_depth", "nodes", HOSTILE),
    ("event", "kind", b"\x00"),
)  # fmt: skip


def damaged(path: Path, table: str, column: str, value: object) -> None:
    sound_database(path)
    connection = sqlite3.connect(path)
    connection.execute(f'UPDATE {table} SET "{column}" = ?', (value,))
    connection.commit()
    connection.close()


@pytest.mark.parametrize(("table", "column", "value"), EVERYTHING)
def test_a_value_of_another_type_is_refused_where_it_is_read(
    tmp_path: Path, table: str, column: str, value: object
) -> None:
    damaged(tmp_path / "d.db", table, column, value)

    def read_all() -> None:
        with Reader(tmp_path / "d.db") as reader:
            reader.sessions()
            reader.figures(1)
            for session in (1, 2):
                reader.events(session)
                for row in reader.generations(session):
                    reader.rounds(row.id)

    with pytest.raises(StoreError, match=r"the database is damaged: .* has a .* says more"):
        read_all()


def test_what_cannot_be_read_is_not_asked_for_without_a_pause(tmp_path: Path) -> None:
    damaged(tmp_path / "d.db", *EVERYTHING[2])
    looks: list[float] = []

    class Counting(SessionFeed):
        def look(self, reader: Reader) -> tuple[object, ...]:
            looks.append(time.monotonic())
            return super().look(reader)

    feed = Counting(tmp_path / "d.db", 1, lambda _: feed.confirm())
    feed.start()
    until(lambda: len(looks) > 1)
    feed.stop()
    assert looks[1] - looks[0] > 0.5 * IDLE_SECONDS


@pytest.mark.parametrize("way", range(6))
def test_screens_open_on_a_damaged_database(tmp_path: Path, way: int) -> None:
    """One part of the screens and one sort of damage each."""
    damaged(tmp_path / "d.db", *EVERYTHING[(2, 4, 2, 5, 8, 3)[way]])
    walk(tmp_path / "d.db", way)
