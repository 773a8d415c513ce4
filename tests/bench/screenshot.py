"""Pictures of every screen, from real runs of the embedded model: `make screenshots`.

    python -m tests.bench.screenshot [--out docs] [--rounds 150] [--size 120x40] [--only NAME ...]

Runs two short sessions with different drafts in a database of its own and exports screen after screen of
them as the user would see it; then starts a third and exports the live screen while it decodes. It is
stopped afterwards.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textual.pilot import Pilot

from spectui import prompts
from spectui.decoding.config import RunConfig
from spectui.store.database import connect
from spectui.store.reading.reader import Reader
from spectui.store.sessions import send_command
from spectui.tui.app import SpectuiApp
from spectui.tui.start import start_run
from spectui.tui.terminal.theme import DEFAULT_THEME
from tests.tui.screens.registry import says

Size = tuple[int, int]


@dataclass(frozen=True)
class Shot:
    """One picture: keys from the list of sessions on, or from the session when `opened`."""

    name: str
    opened: bool
    keys: tuple[str, ...]
    on: str
    """The class of the screen that is then on top."""
    words: str
    """What a row of it says once all is there."""


SHOTS = (
    Shot("sessions", False, (), "SessionsScreen", "eagle+lookup"),
    Shot("new-run", False, ("r",), "NewRunScreen", ""),
    Shot("compare", False, ("down", "m", "down", "m", "c"), "CompareScreen", "overlap"),
    Shot("session", True, (), "LiveScreen", "target's own"),
    Shot("replay", True, ("r", "colon", *"5.12", "enter"), "ReplayScreen", "held"),
    Shot("inspector", True, ("left", "left", "left", "enter", "n"), "InspectorScreen", "Rejected:"),
    Shot(
        "search",
        True,
        ("slash", *"the", "enter"),
        "SearchScreen",
        " rounds.",
    ),
    Shot("chart", True, ("z", "h", "right"), "ChartScreen", "depth 2"),
    Shot("calibration", True, ("z", "h", "h", "h"), "ChartScreen", "q .00 to"),
    Shot("report", True, ("R",), "ReportScreen", "Acceptance α"),
    Shot("advise", True, ("A",), "AdviseScreen", "plain"),
    Shot("help", True, ("question_mark",), "HelpScreen", "round"),
)
RUNS = (("monday-recycling", "recycling"), ("tuesday-eagle", "eagle"), ("wednesday-lookup", "eagle+lookup"))
OPENED = "tuesday-eagle"

SETTLE_S = 1.5
"""After a key and at the end: long enough for a feed to have read and a screen to be drawn."""
PATIENCE_S = 120.0


async def watched(
    app: SpectuiApp, size: Size, out: Path, ready: Callable[[Pilot[Any]], bool], keys: tuple[str, ...] = ()
) -> None:
    """Press keys, wait until `ready`, export what the app shows."""
    app.theme = DEFAULT_THEME  # whatever terminal this was started from
    async with app.run_test(size=size) as pilot:
        await pilot.pause(SETTLE_S)
        for key in keys:
            await pilot.press(key)
            await pilot.pause(SETTLE_S if len(key) > 1 or key in "mcrzhnARx" else 0.05)
        deadline = time.monotonic() + PATIENCE_S
        while not ready(pilot):
            if time.monotonic() > deadline:
                raise SystemExit(f"{out.stem}: the screen did not get there; its keys may have changed")
            await pilot.pause(0.2)
        await pilot.pause(SETTLE_S)
        out.write_text(app.export_screenshot(title="spectui"))
    print(out, f"{out.stat().st_size // 1024} KB", flush=True)


def ended(database: Path, session: int) -> None:
    """Wait until a run is over."""
    with Reader(database) as reader:
        while reader.session(session).live:
            time.sleep(0.2)


def main() -> None:
    """Run, look, stop."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs"))
    parser.add_argument("--rounds", type=int, default=150)
    parser.add_argument("--size", default="120x40")
    parser.add_argument("--only", nargs="*", default=())
    arguments = parser.parse_args()
    out = arguments.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    columns, _, rows = arguments.size.partition("x")
    size = int(columns), int(rows)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # so that no path of this machine is in a picture
        database = Path("spectui.db")
        config = RunConfig(max_new_tokens=96)
        ids = {}
        for name, draft in RUNS:
            ids[name] = start_run(database, config.changed(draft=draft), prompts.bundled(per_task=2), name)
            ended(database, ids[name])
        for shot in SHOTS:
            if not arguments.only or shot.name in arguments.only:
                app = SpectuiApp(database, ids[OPENED] if shot.opened else None)
                ready = says(shot.words, on=shot.on)
                asyncio.run(watched(app, size, out / f"{shot.name}.svg", ready, shot.keys))
        if not arguments.only or "live" in arguments.only:
            session = start_run(
                database, config.changed(max_new_tokens=96), prompts.bundled(per_task=3), "friday-study"
            )
            with Reader(database) as reader:

                def far_enough(_: Pilot[Any]) -> bool:
                    now = reader.session(session)
                    return not now.live or now.rounds >= arguments.rounds

                asyncio.run(watched(SpectuiApp(database, session), size, out / "live.svg", far_enough))
            db = connect(database)
            if Reader(db).session(session).live:
                send_command(db, session, "stop")
            db.close()
            ended(database, session)


if __name__ == "__main__":
    main()
