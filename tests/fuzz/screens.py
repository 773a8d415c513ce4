"""Every screen of the dashboard, opened on a damaged database by the keys that lead there."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from textual.pilot import Pilot

from spectui.tui.app import SpectuiApp
from spectui.tui.widgets.rows import Rows
from tests.fuzz.targets import STEERS

WAYS: tuple[tuple[int | None, tuple[str, ...]], ...] = (
    # The list: its card, a filter, marks and a comparison of both sessions, a report, an export, a session opened.
    (None, ("down", "end", "slash", "c", "o", "escape", "end", "m", "up", "m", "c", "2", "3", "n", "escape")),
    (
        None,
        (
            "v",
            "end",
            "R",
            "end",
            "escape",
            "x",
            "escape",
            "e",
            "escape",
            "number_sign",
            "escape",
            "d",
            "escape",
        ),
    ),
    # A session: panes, charts, the whole prompt, rounds back and forth, the inspector and its search, the replay.
    (
        1,
        ("1", "x", "v", "escape", "2", "3", "h", "h", "h", "h", "h", "z", "h", "escape", "4", "end", "enter"),
    ),
    (
        1,
        (
            "left",
            "left",
            "enter",
            "n",
            "N",
            "down",
            "slash",
            "w",
            "1",
            "enter",
            "escape",
            "escape",
            "right",
            "[",
            "]",
        ),
    ),
    (
        1,
        (
            "r",
            "space",
            "right",
            "shift+right",
            ">",
            "space",
            "colon",
            "5",
            "0",
            "%",
            "enter",
            "left",
            "escape",
        ),
    ),
    (
        2,
        (
            "enter",
            "n",
            "escape",
            "h",
            "z",
            "escape",
            "r",
            "right",
            "escape",
            "R",
            "escape",
            "question_mark",
            "escape",
        ),
    ),
)
"""A session to begin with, or the list, and the keys that are then pressed."""


def walk(database: Path, way: int) -> None:
    """Open the dashboard, go one of `WAYS` whatever it shows, and leave. Raises what the dashboard raises."""
    asyncio.run(_walk(database, *WAYS[way % len(WAYS)]))


async def _walk(database: Path, session: int | None, keys: tuple[str, ...]) -> None:
    app = SpectuiApp(database, session)
    async with app.run_test(size=(120, 40)) as pilot:
        await _wait_for_feeds(pilot)
        for key in keys:
            await pilot.press(key)
            await _wait_for_feeds(pilot)
            for rows in pilot.app.screen.query(Rows):
                assert STEERS.search(rows.text.replace("\n", "")) is None, ascii(rows.text)
        assert app.is_running


async def _wait_for_feeds(pilot: Pilot[Any]) -> None:
    """Wait long enough for a feed to have read a small database."""
    for _ in range(3):
        await pilot.pause(0.01)
