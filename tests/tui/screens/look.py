"""Pictures of the screens in the registry, to be looked at.

    python -m tests.tui.screens.look [NAME ...] [--size 120x40] [--theme dark] [--ascii] [--out DIR]

Writes ``NAME-SIZE-THEME.svg``; without names, all of them. `--ascii` is for terminals that know no other characters.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from spectui.tui.model import progress
from spectui.tui.terminal import glyphs
from spectui.tui.terminal.plain_output import PlainFilter
from tests.tui.conftest import app_for
from tests.tui.screens.data import worker_words
from tests.tui.screens.registry import SCREENS, Shown


async def export(screen: Shown, theme: str, size: tuple[int, int], out: Path, *, ascii: bool) -> None:
    """Write one picture."""
    glyphs.choose(ascii=ascii)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        database = Path("spectui.db")
        app = app_for(database, screen.data(database), theme)
        if ascii:
            app.plain = PlainFilter("ascii")
        async with app.run_test(size=size) as pilot:
            await screen.reach(pilot)
            await pilot.pause()
            name = f"{screen.name}-{size[0]}x{size[1]}-{theme}{'-ascii' if ascii else ''}.svg"
            (out / name).write_text(app.export_screenshot(title="spectui"))


def main() -> None:
    """Export what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--size", default="120x40")
    parser.add_argument("--theme", default="dark")
    parser.add_argument("--ascii", action="store_true")
    parser.add_argument("--out", type=Path, default=Path())
    arguments = parser.parse_args()
    out = arguments.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    columns, _, rows = arguments.size.partition("x")
    # Any fixed moment: the sessions of the registry are of that day.
    progress.now = lambda: datetime(2026, 3, 1, 10, 3, 12, tzinfo=UTC)
    progress.worker_words = worker_words
    for screen in SCREENS:
        if not arguments.names or screen.name in arguments.names:
            asyncio.run(
                export(screen, arguments.theme, (int(columns), int(rows)), out, ascii=arguments.ascii)
            )


if __name__ == "__main__":
    main()
