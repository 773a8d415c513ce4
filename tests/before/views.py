"""Output for users from databases, settings and the command line, as values that no day and no machine changes."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
from click.testing import CliRunner

from spectui.store.database import connect
from spectui.store.reading.reader import Reader
from spectui.tui.cli import main
from tests.before.files import parse

PRINTED: dict[str, Sequence[str]] = {
    "sessions.json": ("sessions", "ls", "--json"),
    "sessions-filtered.json": ("sessions", "ls", "--json", "--filter", "#friday task:math"),
    **{f"show-{n}.json": ("sessions", "show", str(n), "--json") for n in (1, 3, 4, 5, 7)},
    **{f"report-{n}.json": ("report", str(n), "--json") for n in (1, 3, 7)},
    "compare-1-2.json": ("compare", "1", "2", "--json"),
    "advise-1.json": ("advise", "1", "--json"),
    "advise-3.json": ("advise", "recycling-warm", "--json"),
    "attach-1.json": ("attach", "eagle-greedy", "--json"),
    "first/sessions.json": ("sessions", "ls", "--json", "--db", "first.db"),
    "first/show-3.json": ("sessions", "show", "first-halfway", "--json", "--db", "first.db"),
    "first/report-1.json": ("report", "1", "--json", "--db", "first.db"),
    "prompts-check.json": ("prompts", "check", "talk.jsonl", "--json"),
    "prompts-import.json": ("prompts", "import", "talk.jsonl", "--json"),
    "config.json": ("config", "show", "--json"),
    "config.txt": ("config", "show"),
}
"""Expected file -> the command that prints it."""

WRITTEN: dict[str, tuple[Sequence[str], str]] = {
    "export-4/generation.csv": (("sessions", "export", "4", "--out", "csv"), "csv/generation.csv"),
    "export-4/round.csv": ((), "csv/round.csv"),
    "export-4/node.csv": ((), "csv/node.csv"),
    "export-5/round.jsonl": (
        ("sessions", "export", "5", "--format", "jsonl", "--out", "lines"),
        "lines/round.jsonl",
    ),
    "report-1/alpha.csv": (("report", "1", "--csv", "tables"), "tables/alpha.csv"),
    "report-1/hazard_on_path.csv": ((), "tables/hazard_on_path.csv"),
    "plan-1.json": (("advise", "1", "--save", "advised.json"), "advised.json"),
}
"""Expected file -> the command that writes it, none where the one before did, and where."""

FILLED_IN = ("rollup_block", "rollup_block_depth", "baseline")
"""Tables that the first schema had not; `bins` is a column that it had not."""

REPLAYED = ("1", "3.7", "50%", "8.19")
"""Places in session 1 that are gone to: prompts and rounds, and a share of its time."""


@contextlib.contextmanager
def at_home(folder: Path, **environment: str) -> Iterator[None]:
    """`folder` as the working folder and the user's own, its database as the default one, and always one terminal."""
    surroundings = {
        "HOME": str(folder), "SPECTUI_DB": "before.db", "SPECTUI_CONFIG": "none", "SPECTUI_STATE": "state",
        "SPECTUI_LOGS": "logs", "COLUMNS": "80", "TZ": "UTC", **environment,
    }  # fmt: skip
    known = dict(os.environ)
    os.environ.update(surroundings)
    try:
        with contextlib.chdir(folder):
            yield
    finally:
        os.environ.clear()
        os.environ.update(known)


def upgrade(folder: Path) -> None:
    """Open the databases once for writing, as the dashboard and a run do: reading commands upgrade none."""
    for name in ("before.db", "first.db"):
        connect(folder / name, create=False).close()


def filled_in(database: Path) -> dict[str, list[list[Any]]]:
    """Rows that upgrading has computed from the nodes of an older database."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        rows = {table: connection.execute(f"SELECT * FROM {table}") for table in FILLED_IN}
        rows["bins"] = connection.execute("SELECT session_id, task, hex(bins) FROM rollup_task")
        return {table: sorted(map(list, records)) for table, records in rows.items()}


def output(arguments: Sequence[str]) -> str:
    """The output of a command, run in this process."""
    result = CliRunner().invoke(main, list(arguments))
    assert result.exit_code == 0, f"{arguments}: {result.output} {result.exception!r}"
    return result.stdout


def printed(name: str, folder: Path) -> Any:
    """One of `PRINTED`; only those about settings know any."""
    about_settings = {"SPECTUI_CONFIG": "config.toml", "SPECTUI_DB": ""} if name.startswith("config") else {}
    with at_home(folder, **about_settings):
        return parse(name, output(PRINTED[name]).replace(str(folder), "FOLDER"))


def written(folder: Path) -> Iterator[tuple[str, str]]:
    """Every one of `WRITTEN`, as text."""
    with at_home(folder):
        for name, (arguments, place) in WRITTEN.items():
            if arguments:
                output(arguments)
            yield name, Path(place).read_text(encoding="utf-8")


def outcome(database: Path, session: str | int) -> list[dict[str, Any]]:
    """A session's results: text and tokens of every prompt, and the trees of its rounds."""
    with Reader(database) as reader:
        return [
            {
                "status": row.status,
                "finish_reason": row.finish_reason,
                "output": row.output,
                "tokens": [token for each in reader.rounds(row.id) for token in each.emitted],
                "trees": [[node.token_id for node in each.nodes] for each in reader.rounds(row.id)],
            }
            for row in reader.generations(reader.session(session).id)
        ]


# The command line.


def commands(
    group: click.Command = main, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command with its path, the groups included."""
    yield path, group
    if isinstance(group, click.Group):
        context = click.Context(group)
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command is not None
            yield from commands(command, (*path, name))


CHILDREN = ("bench", "distill")
"""Commands whose options another process reads."""


def file_of(path: Sequence[str]) -> str:
    """The name of the file with the help of a command."""
    return f"help/{'-'.join(('spectui', *path))}.txt"


def help_of(path: Sequence[str]) -> str:
    """The output of ``--help``."""
    if path and path[0] in CHILDREN:
        command = [sys.executable, "-P", "-c", "from spectui.tui.cli import main; main()", *path, "--help"]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
        return done.stdout
    return output([*path, "--help"])


def options_of(command: click.Command, path: Sequence[str]) -> list[str]:
    """The options and arguments of a command, each in one line."""
    if path and path[0] in CHILDREN:
        return sorted(set(re.findall(r"(?<=\n  )-.+?(?=  |\n)", help_of(path))))
    return [_option(parameter) for parameter in command.params]


def _option(parameter: click.Parameter) -> str:
    words = [*parameter.opts, *(f"no: {name}" for name in parameter.secondary_opts)]
    if isinstance(parameter, click.Option) and parameter.is_flag:
        words.append("flag")
    else:
        words.append(parameter.type.name)
    if isinstance(parameter.type, click.Choice):
        words += [str(choice) for choice in parameter.type.choices]
    marks = (("required", parameter.required), ("several", parameter.multiple or parameter.nargs == -1))
    return " ".join([*words, *(mark for mark, holds in marks if holds)])


def offered() -> tuple[list[str], dict[str, dict[str, str]]]:
    """The settings that ``config init`` offers, and by screen every action with its keys."""
    settings: list[str] = []
    keys: dict[str, dict[str, str]] = {}
    area = ""
    place = Path("offered.toml").resolve()
    with at_home(place.parent, SPECTUI_CONFIG=str(place)):
        output(["config", "init"])
    for line in place.read_text(encoding="utf-8").splitlines():
        if table := re.match(r"# \[keys\.(\w+)\]", line):
            area = table[1]
        elif entry := re.match(r"# ([\w-]+) = (.*)", line):
            if area:
                keys.setdefault(area, {})[entry[1]] = tomllib.loads(f"keys = {entry[2]}")["keys"]
            else:
                settings.append(entry[1])
    place.unlink()
    return settings, keys


async def replayed(folder: Path, expected: dict[str, Any] | None = None) -> dict[str, dict[str, str]]:
    """Text, tree and chart of a replay of session 1 at `REPLAYED`, on a terminal of 120 by 40.

    Each is waited for until it is as expected, a few seconds at most; without expectations a while.
    """
    from spectui.tui.screens.live.replay import ReplayScreen
    from spectui.tui.widgets.histogram import Histogram
    from tests.tui.conftest import app_for, live_screen, wait_for

    shown: dict[str, dict[str, str]] = {}
    async with app_for(folder / "before.db", 1).run_test(size=(120, 40)) as pilot:
        await wait_for(pilot, lambda: live_screen(pilot).shown is not None)
        await pilot.press("r")
        await wait_for(pilot, lambda: isinstance(pilot.app.screen, ReplayScreen) and pilot.app.screen.moment)
        screen = pilot.app.screen
        assert isinstance(screen, ReplayScreen)
        for place in REPLAYED:
            await pilot.press("colon", *("percent_sign" if c == "%" else c for c in place), "enter")
            end = time.monotonic() + (2.0 if expected is None else 10.0)
            while time.monotonic() < end and (expected is None or shown.get(place) != expected[place]):
                await pilot.pause(0.05)
                shown[place] = {
                    "text": screen.stream.transcript.text_of("accepted", "rejected", "target"),
                    "tree": screen.body.tree_view.text,
                    "lengths": screen.query_one("#lengths-view", Histogram).text,
                }
    return shown
