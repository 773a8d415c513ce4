"""Looks for the option of `recipes.option` on the command line, in settings, in the form and in the reference.

Run in a process of its own whose `spectui` has the option, with a folder as its only argument.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from click.testing import CliRunner

from spectui.decoding.config import RunConfig
from spectui.tui.app import SpectuiApp
from spectui.tui.cli import main as spectui
from spectui.tui.cli.commands.config import template
from spectui.tui.settings import parse
from tests.docs.generated import command_line
from tests.tui.conftest import wait_for


async def form(database: Path) -> str:
    """The text of the form for a new run."""
    app = SpectuiApp(database)
    async with app.run_test(size=(120, 40)) as pilot:
        await wait_for(pilot, lambda: type(app.screen).__name__ == "SessionsScreen")
        await pilot.press("r")
        await wait_for(pilot, lambda: type(app.screen).__name__ == "NewRunScreen")
        await pilot.pause(0.1)
        return "\n".join(strip.text for strip in app.screen._compositor.render_strips())


def main(folder: Path) -> None:
    """Exit with 0 when it is everywhere."""
    help_text = CliRunner().invoke(spectui, ["run", "--help"]).output
    assert "--patience N" in help_text
    assert "(default: 3)" in help_text
    refused = CliRunner().invoke(spectui, ["run", "--patience", "0", "--db", str(folder / "spectui.db")])
    assert (refused.exit_code, "--patience is 0; it must be at least 1" in refused.output) == (2, True)
    assert dict(parse("[run]\npatience = 5\n", Path("config.toml")).run) == {"patience": 5}
    assert "# patience = " in template()
    assert "| `--patience N` |" in command_line()
    assert RunConfig.from_json(RunConfig(patience=4).to_json()).patience == 4  # type: ignore[call-arg, attr-defined]
    assert "rounds without acceptance" in asyncio.run(form(folder / "spectui.db"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
