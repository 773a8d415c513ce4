"""Pictures of every screen, from real runs of the embedded model: `make screenshots`.

    python -m tests.bench.screenshot [--out docs] [--rounds 150] [--size 120x40]

Runs two short sessions with different drafts in a database of its own and exports screen after screen of
them as the user would see it; then starts a third and exports the live screen while it decodes. It is
stopped afterwards.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from textual.pilot import Pilot

import prompts
from decoding.config import RunConfig
from store.database import connect
from store.reader import Reader
from store.sessions import send_command
from tui.app import SpectuiApp
from tui.start import start_run

Size = tuple[int, int]

SHOTS: tuple[tuple[str, bool, tuple[str, ...]], ...] = (
    ("sessions", False, ()),
    ("new-run", False, ("r",)),
    ("tree", True, ("2",)),
    ("chart", True, ("z",)),
    ("report", True, ("R",)),
    ("help", True, ("question_mark",)),
)
"""Picture, whether a session is opened first, keys."""

SETTLE_S = 2.0
"""Long enough for a feed to have read and a screen to be drawn."""


async def watched(
    app: SpectuiApp, size: Size, out: Path, ready: Callable[[], bool], keys: tuple[str, ...]
) -> None:
    """Export what the app shows once `ready`, after these keys."""
    async with app.run_test(size=size) as pilot:
        while not ready():
            await pilot.pause(0.2)
        await _settle(pilot)
        for key in keys:
            await pilot.press(key)
            await _settle(pilot)
        out.write_text(app.export_screenshot(title="spectui"))


async def _settle(pilot: Pilot[Any]) -> None:
    await pilot.pause(SETTLE_S)


def ended(database: Path, session: int) -> None:
    """Wait until a run is over."""
    with Reader(database) as reader:
        while reader.session(session).live:
            asyncio.run(asyncio.sleep(0.2))


def main() -> None:
    """Run, look, stop."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs"))
    parser.add_argument("--rounds", type=int, default=150)
    parser.add_argument("--size", default="120x40")
    arguments = parser.parse_args()
    arguments.out.mkdir(exist_ok=True)
    columns, _, rows = arguments.size.partition("x")
    size = int(columns), int(rows)
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "spectui.db"
        config = RunConfig(max_new_tokens=64)
        for name, draft in (("monday-recycling", "recycling"), ("tuesday-eagle", "eagle")):
            last = start_run(database, config.changed(draft=draft), prompts.bundled(per_task=2), name)
            ended(database, last)
        for picture, opened, keys in SHOTS:
            app = SpectuiApp(database, last if opened else None)
            asyncio.run(watched(app, size, arguments.out / f"{picture}.svg", lambda: True, keys))
        session = start_run(
            database, config.changed(max_new_tokens=96), prompts.bundled(per_task=3), "friday-study"
        )
        with Reader(database) as reader:

            def far_enough() -> bool:
                now = reader.session(session)
                return not now.live or now.rounds >= arguments.rounds

            app = SpectuiApp(database, session)
            asyncio.run(watched(app, size, arguments.out / "live.svg", far_enough, ()))
        db = connect(database)
        if Reader(db).session(session).live:
            send_command(db, session, "stop")
        db.close()
        ended(database, session)


if __name__ == "__main__":
    main()
