"""Pictures of every screen, and a moving one, from real runs of the embedded model: `make screenshots`.

    python -m tests.bench.screenshot [--out docs] [--rounds 150] [--size 120x40] [--only NAME ...]

Runs three short sessions with different drafts in a database of its own and draws screen after screen of them as
the user would see it. Then starts a fourth and draws the live screen while it decodes: `live-run.svg` moves at the
run's own pace, `live.svg` shows its last moment. The run is stopped afterwards.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textual.pilot import Pilot

from spectui import prompts
from spectui.decoding.checkpoints import embedded
from spectui.decoding.config import RunConfig
from spectui.store.database import connect
from spectui.store.reading.reader import Reader
from spectui.store.sessions import send_command
from spectui.store.sources import WATCH
from spectui.tui.app import SpectuiApp
from spectui.tui.start import start_run
from spectui.tui.terminal.theme import DEFAULT_THEME
from tests.bench.terminal_svg import Moment, look_at, svg
from tests.servers.llama_server import SELF, LlamaServer
from tests.servers.recordings.recorder import RECORDED, import_all
from tests.tui.screens import data
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
    """Words of a row that is there once the screen is complete."""


SHOTS = (
    Shot("sessions", False, (), "SessionsScreen", "eagle+lookup"),
    Shot("new-run", False, ("r",), "NewRunScreen", ""),
    Shot("compare", False, ("down", "m", "down", "m", "c"), "CompareScreen", "overlap"),
    Shot("session", True, (), "LiveScreen", "target's own"),
    Shot("replay", True, ("r", "colon", *"5.12", "enter"), "ReplayScreen", "held"),
    Shot("inspector", True, ("left", "left", "left", "enter", "n"), "InspectorScreen", "Rejected:"),
    Shot("search", True, ("slash", *"the", "enter"), "SearchScreen", " rounds."),
    Shot("chart", True, ("z", "h", "right"), "ChartScreen", "depth 2"),
    Shot("calibration", True, ("z", "h", "h", "h"), "ChartScreen", "q .00 to"),
    Shot("report", True, ("R",), "ReportScreen", "Acceptance α"),
    Shot("advise", True, ("A",), "AdviseScreen", "plain"),
    Shot("help", True, ("question_mark",), "HelpScreen", "round"),
)
TREE = "dynamic:8x4"
"""Larger than what is fastest on a CPU, to have something to look at."""
RUNS = (("monday", "recycling", ""), ("tuesday", "eagle", TREE), ("wednesday", "eagle+lookup", ""))
OPENED = "tuesday"

SETTLE_S = 1.5
"""After a key and at the end: long enough for a feed to have read and a screen to be drawn."""
PATIENCE_S = 120.0

FRAMES, FRAME_S = 64, 0.4
"""Moments of the moving picture, and how far apart they are."""
FILMED = "dynamic:5x3"
FIRST_ROUNDS = 3
"""Rounds of the run before the first of them."""
LAST_S = 3.0
"""For how long the last one stands."""


async def drawn(app: SpectuiApp, size: Size, shot: Shot) -> Moment:
    """The screen of the app after the shot's keys."""
    app.theme = DEFAULT_THEME  # whatever terminal this was started from
    ready = says(shot.words, on=shot.on)
    async with app.run_test(size=size) as pilot:
        await pilot.pause(SETTLE_S)
        for key in shot.keys:
            await pilot.press(key)
            await pilot.pause(SETTLE_S if len(key) > 1 or key in "mcrzhnARx" else 0.05)
        await until(pilot, ready, shot.name)
        await pilot.pause(SETTLE_S)
        return look_at(app)


async def until(pilot: Pilot[Any], ready: Callable[[Pilot[Any]], bool], name: str) -> None:
    """Wait for a screen."""
    deadline = time.monotonic() + PATIENCE_S
    while not ready(pilot):
        if time.monotonic() > deadline:
            raise SystemExit(f"{name}: the screen did not get there; its keys may have changed")
        await pilot.pause(0.1)


def full(reader: Reader, session: int, rounds: int) -> bool:
    """True when a run has had so many rounds and is far into a prompt, or is over."""
    summary = reader.session(session)
    far = any(each.status == "running" and each.token_count >= 48 for each in reader.generations(session))
    return not summary.live or (summary.rounds >= rounds and far)


async def filmed(database: Path, session: int, size: Size, rounds: int) -> list[tuple[Moment, float]]:
    """Moments of a live run, as far apart as they were, until it has had so many rounds."""
    app = SpectuiApp(database, session)
    app.theme = DEFAULT_THEME
    moments: list[tuple[Moment, float]] = []
    with Reader(database) as reader:
        async with app.run_test(size=size) as pilot:
            await until(pilot, lambda _: reader.session(session).rounds >= FIRST_ROUNDS, "live")
            await pilot.pause(SETTLE_S)
            began = time.monotonic()
            for number in range(FRAMES):
                moments.append((look_at(app), FRAME_S))
                await pilot.pause(max(0.01, began + (number + 1) * FRAME_S - time.monotonic()))
            await until(pilot, lambda _: full(reader, session, rounds), "live")
            await pilot.pause(SETTLE_S)
            return [*moments, (look_at(app), LAST_S)]


def write(out: Path, name: str, moments: Sequence[tuple[Moment, float]]) -> None:
    """Draw a picture into the folder."""
    path = out / f"{name}.svg"
    path.write_text(svg(moments), encoding="utf-8")
    print(path, f"{path.stat().st_size // 1024} KB", flush=True)


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
    shots = [shot for shot in SHOTS if not arguments.only or shot.name in arguments.only]
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # so that no path of this machine is in a picture
        database = Path("spectui.db")
        config = RunConfig(max_new_tokens=96)
        ids = {}
        for name, draft, tree in RUNS if shots else ():
            run = config.changed(draft=draft, tree=tree)
            ids[name] = start_run(database, run, prompts.bundled(per_task=2), name)
            ended(database, ids[name])
        for shot in shots:
            app = SpectuiApp(database, ids[OPENED] if shot.opened else None)
            write(out, shot.name, [(asyncio.run(drawn(app, size, shot)), 1.0)])
        if not arguments.only or "server" in arguments.only:
            with LlamaServer(embedded.ensure_gguf(), SELF) as server:
                run = RunConfig(server=server.address, max_new_tokens=64)
                on_server = start_run(database, run, prompts.bundled(per_task=2), "thursday")
                ended(database, on_server)
            shot = Shot("server", True, ("left", "left"), "LiveScreen", "target's own")
            write(out, shot.name, [(asyncio.run(drawn(SpectuiApp(database, on_server), size, shot)), 1.0)])
        if not arguments.only or "watch" in arguments.only:
            # Of simulated servers: no real ones are at hand that would be watched for minutes.
            session = data.watched(Path("watched.db"))
            for shot in (
                Shot("watch", True, (), "WatchedScreen", "YES"),
                Shot("watch-fleet", True, ("escape",), "FleetScreen", "YES"),
            ):
                app = SpectuiApp(Path("watched.db"), session, WATCH)
                write(out, shot.name, [(asyncio.run(drawn(app, size, shot)), 1.0)])
        if not arguments.only or "rejected" in arguments.only:
            # What a real vLLM's recorder wrote; `tests/servers/recorded` has it.
            recorded = Path("recorded.db")
            (session,) = import_all(RECORDED, recorded, tokenizer=embedded.ensure())
            for shot in (
                Shot("rejected", True, ("left", "left"), "LiveScreen", "189 greedy"),
                Shot("rejected-inspector", True, ("left", "enter", "n"), "InspectorScreen", "Rejected:"),
            ):
                app = SpectuiApp(recorded, session)
                write(out, shot.name, [(asyncio.run(drawn(app, size, shot)), 1.0)])
        if not arguments.only or "live" in arguments.only:
            chosen = prompts.interleave(prompts.bundled(per_task=4))  # every histogram fills
            session = start_run(database, config.changed(tree=FILMED), chosen, "friday-study")
            moments = asyncio.run(filmed(database, session, size, arguments.rounds))
            write(out, "live-run", moments)
            write(out, "live", moments[-1:])
            db = connect(database)
            if Reader(db).session(session).live:
                send_command(db, session, "stop")
            db.close()
            ended(database, session)


if __name__ == "__main__":
    main()
