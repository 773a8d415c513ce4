"""Protects what was recorded and set with earlier versions, and what scripts read from the command line.

All that is expected here was printed by the code of before the packages moved below `spectui` (README.md).
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from click.testing import CliRunner

from spectui.decoding.trees.plan_file import read_plan
from spectui.store.care.check import check
from spectui.store.database import connect
from spectui.tui.cli import main
from tests.before import views
from tests.before.files import differences, parse, read, unpack

COMMANDS = dict(views.commands())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files, opened once with today's code."""
    folder = unpack(tmp_path_factory.mktemp("before").resolve())
    views.upgrade(folder)
    return folder


@pytest.mark.parametrize("name", views.PRINTED)
def test_a_command_prints_what_it_printed(name: str, folder: Path) -> None:
    assert differences(read(name), views.printed(name, folder)) == []


def test_files_are_written_as_they_were(folder: Path) -> None:
    for name, text in views.written(folder):
        assert differences(read(name), parse(name, text)) == [], name


@pytest.mark.parametrize("name", ["before.db", "first.db"])
def test_every_figure_of_an_upgraded_database_adds_up(name: str, folder: Path) -> None:
    connection = connect(folder / name)
    assert check(connection) == []
    connection.close()


def test_an_upgrade_fills_in_what_it_filled_in(folder: Path) -> None:
    assert differences(read("first/filled-in.json"), views.filled_in(folder / "first.db")) == []


def test_a_command_that_reads_upgrades_nothing(tmp_path: Path) -> None:
    folder = unpack(tmp_path)
    before = (folder / "first.db").read_bytes()
    with views.at_home(folder):
        refused = CliRunner().invoke(main, ["sessions", "ls", "--db", "first.db"])
    assert refused.exit_code == 2
    assert "is of an older spectui; open it once with" in refused.stderr
    assert (folder / "first.db").read_bytes() == before


async def test_a_replay_shows_what_it_showed(folder: Path) -> None:
    expected = read("replayed.json")
    assert differences(expected, await views.replayed(folder, expected)) == []


def test_a_file_of_budgets_is_read_as_a_plan(folder: Path) -> None:
    saved = json.loads((folder / "budget.json").read_text())
    assert (saved.pop("format"), saved.pop("version")) == ("spectui tree budgets", 1)
    assert asdict(read_plan(folder / "budget.json")) == saved


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_the_help_of_a_command_says_what_it_said(path: tuple[str, ...], folder: Path) -> None:
    """But for where lines break, which versions of click and argparse see differently."""
    with views.at_home(folder):
        now = views.help_of(path)
    assert _words(now) == _words(read(views.file_of(path))), (
        "python -m tests.before.renew help, if that is meant"
    )


def _words(text: str) -> list[str]:
    """Words, one that a line breaks at its hyphen among them."""
    return text.replace("-\n", "- ").replace("- ", "-").split()


def test_commands_and_options_are_those_that_there_were(folder: Path) -> None:
    with views.at_home(folder):
        now = {
            " ".join(("spectui", *path)): views.options_of(command, path)
            for path, command in COMMANDS.items()
        }
    assert differences(read("options.json"), now) == []


def test_settings_and_keys_are_those_that_there_were(folder: Path) -> None:
    with views.at_home(folder):
        settings, keys = views.offered()
    assert settings == read("settings.json")
    assert differences(read("keys.json"), keys) == []
