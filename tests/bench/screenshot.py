"""The README's picture of the live screen, from a real run that is going on.

    python -m tests.bench.screenshot [--out docs] [--rounds 150] [--size 120x40]

Starts a run in a database of its own, watches it as a user would, and exports what is on screen once
that many rounds are recorded as ``live.svg``. The run is stopped afterwards.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from pathlib import Path

import prompts
from decoding.config import RunConfig
from store.database import connect
from store.reader import Reader
from store.sessions import send_command
from tui.app import SpectuiApp
from tui.start import start_run


async def picture(database: Path, session: int, out: Path, rounds: int, size: tuple[int, int]) -> None:
    """Export the live screen after `rounds` rounds."""
    reader = Reader(database)
    app = SpectuiApp(database, session)
    async with app.run_test(size=size) as pilot:
        while (now := reader.session(session)).live and now.rounds < rounds:
            await pilot.pause(0.2)
        await pilot.pause(2.0)
        (out / "live.svg").write_text(app.export_screenshot(title="spectui"))
    reader.close()


def main() -> None:
    """Run, look, stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs"))
    parser.add_argument("--rounds", type=int, default=150)
    parser.add_argument("--size", default="120x40")
    arguments = parser.parse_args()
    arguments.out.mkdir(exist_ok=True)
    columns, _, rows = arguments.size.partition("x")
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "spectui.db"
        session = start_run(
            database, RunConfig(max_new_tokens=96), prompts.bundled(per_task=3), "friday-study"
        )
        asyncio.run(picture(database, session, arguments.out, arguments.rounds, (int(columns), int(rows))))
        db = connect(database)
        send_command(db, session, "stop")
        db.close()
        reader = Reader(database)
        while reader.session(session).live:
            asyncio.run(asyncio.sleep(0.2))
        reader.close()


if __name__ == "__main__":
    main()
