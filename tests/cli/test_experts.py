"""Protects what one does over SSH with many sessions: finding them, their logs, a copy of a database at work."""

from __future__ import annotations

import json
import resource
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import click
import pytest

from spectui.store.care.check import check
from spectui.store.database import connect
from spectui.store.reading.reader import Reader
from spectui.store.sessions import set_tags
from spectui.store.writing.writer import SessionWriter
from spectui.tui.cli.group import main
from tests.cli.conftest import SPECTUI, Invoke, Popen
from tests.store.samples import make_session, random_rounds


@pytest.fixture
def several(database: Path) -> Iterator[sqlite3.Connection]:
    """Sessions named after how many rounds they have; the last is at work, in this process."""
    db = connect(database)
    for name, rounds, task in (("five", 5, "code"), ("two", 2, "math"), ("nine", 9, "code")):
        session = make_session(db, [task], name=name)
        writer = SessionWriter(db, session)
        writer.claim()
        writer.set_status("running")
        (prompt,) = writer.pending_generations()
        writer.start_generation(prompt.id)
        for record in random_rounds(rounds, seed=1):
            writer.record_round(prompt.id, record)
        if name != "nine":
            writer.finish_generation(prompt.id, "finished", finish_reason="eos")
            writer.set_status("finished")
    set_tags(db, 2, ["study"])
    yield db
    db.close()


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("", ["nine", "two", "five"]),
        ("--limit 2", ["nine", "two"]),
        ("--reverse", ["five", "two", "nine"]),
        ("--filter task:code", ["nine", "five"]),
        ("--filter #study", ["two"]),
        ("--filter -status:finished", ["nine"]),
        ("--sort tokens", ["nine", "five", "two"]),
        ("--sort tokens --reverse --limit 2", ["two", "five"]),
        ("--sort name", ["five", "nine", "two"]),
        ("--filter task:code --sort tokens --reverse --limit 1", ["five"]),
        ("--filter nothing-like-it", []),
    ],
)
def test_sessions_are_filtered_sorted_and_limited(
    several: sqlite3.Connection, invoke: Invoke, words: str, names: list[str]
) -> None:
    arguments = words.split()
    sessions = json.loads(invoke("sessions", "ls", *arguments, "--json").stdout)
    assert [row["name"] for row in sessions] == names
    shown = invoke("sessions", "ls", *arguments)
    assert shown.exit_code == 0
    listed = [line.split()[1] for line in shown.stdout.splitlines()[1:]]
    assert listed == names or (not names and "none of 3 sessions" in shown.stdout)


def test_a_filter_that_is_not_understood_is_refused(several: sqlite3.Connection, invoke: Invoke) -> None:
    refused = invoke("sessions", "ls", "--filter", ">soon")
    assert refused.exit_code == 2
    assert "a date is needed after >" in refused.stderr


def test_a_log_is_printed_with_the_one_before_it_and_followed_to_the_end_of_the_run(
    several: sqlite3.Connection, invoke: Invoke, spectui: Popen, tmp_path: Path
) -> None:
    log = tmp_path / "nine.log"
    log.with_name("nine.log.1").write_bytes(b"first\n")
    log.write_bytes(b"second \x1b[31m\nthird")
    writer = SessionWriter(several, 3)
    writer.describe(log_path=str(log))
    assert invoke("logs").stdout == "first\nsecond ␛[31m\nthird\n"
    assert invoke("logs", "nine", "-n", "1").stdout == "third\n"
    following = spectui("logs", "nine", "-f", "-n", "1")
    assert following.stdout
    assert following.stdout.readline() == "second ␛[31m\n"
    with log.open("ab") as file:
        file.write(b", finished\n")
        file.flush()
        assert following.stdout.readline() == "third, finished\n"
    log.rename(tmp_path / "nine.log.1")  # it was full
    log.write_bytes(b"fifth\n")
    assert following.stdout.readline() == "fifth\n"
    writer.set_status("stopped")
    rest, errors = following.communicate(timeout=60)
    assert (rest, errors, following.returncode) == ("", "", 0)


def test_an_empty_log_is_said_to_be_empty(
    several: sqlite3.Connection, invoke: Invoke, tmp_path: Path
) -> None:
    log = tmp_path / "nine.log"
    log.touch()
    SessionWriter(several, 3).describe(log_path=str(log))
    assert invoke("logs").stdout == ""
    assert invoke("logs").stderr == "the log of session 'nine' is empty\n"


def test_a_log_that_is_not_here_is_said_with_its_place(several: sqlite3.Connection, invoke: Invoke) -> None:
    refused = invoke("logs", "two")
    assert refused.exit_code == 2
    assert "there is none: " in refused.stderr
    several.execute("UPDATE session SET host = 'gpu-box', worker_place = '', log_path = '/var/far.log'")
    assert invoke("logs", "two").stderr.endswith("it is on gpu-box: /var/far.log\n")


def test_a_log_that_is_no_file_is_not_read(several: sqlite3.Connection, invoke: Invoke) -> None:
    """Its path is out of the database, which may be somebody else's: of /dev/zero there is no end."""
    SessionWriter(several, 3).describe(log_path="/dev/null")
    refused = invoke("logs", "nine")
    assert refused.exit_code == 2
    assert refused.stderr.endswith("is no file: /dev/null\n")


def test_a_backup_of_a_database_at_work_is_whole_and_has_no_worker(
    several: sqlite3.Connection, database: Path, invoke: Invoke, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.db"
    done = invoke("sessions", "backup", copy)
    assert done.exit_code == 0, done.stderr
    assert done.stdout.startswith(f"wrote {copy}: ")
    assert copy.stat().st_mode & 0o777 == 0o600
    with closing(connect(copy)) as opened:
        assert check(opened) == []
        assert [(s.name, s.rounds, s.status) for s in Reader(opened).sessions()] == [
            ("nine", 9, "interrupted"), ("two", 2, "finished"), ("five", 5, "finished"),
        ]  # fmt: skip
    assert Reader(several).session("nine").status == "running"
    before = copy.read_bytes()
    refused = invoke("sessions", "backup", copy)
    assert refused.exit_code == 2
    assert "--force replaces it" in refused.stderr
    assert copy.read_bytes() == before
    assert invoke("sessions", "backup", copy, "--force").exit_code == 0
    for itself in (database, tmp_path / "data" / ".." / "data" / "spectui.db"):
        assert "is the database itself" in invoke("sessions", "backup", itself, "--force").stderr
    assert sorted(each.name for each in tmp_path.glob("*.db*")) == ["copy.db"]


def test_a_backup_that_finds_no_room_leaves_nothing_behind(
    several: sqlite3.Connection, database: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "full"
    folder.mkdir()
    (folder / "old.db").write_text("old")
    done = subprocess.run(
        [SPECTUI, "sessions", "backup", folder / "old.db", "--force"],
        capture_output=True, text=True, check=False, timeout=60,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY)),
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert str(folder / "old.db") in done.stderr
    assert [each.name for each in folder.iterdir()] == ["old.db"]
    assert (folder / "old.db").read_text() == "old"


def test_no_command_is_told_in_half_a_sentence() -> None:
    """`spectui --help` cut what most commands do at the width of a terminal."""
    groups: list[click.Group] = [main]
    halves = []
    for group in groups:
        groups += [command for command in group.commands.values() if isinstance(command, click.Group)]
        room = 80 - 6 - max(map(len, group.commands))
        for name, command in group.commands.items():
            told = command.get_short_help_str(room)
            if told.endswith("...") or not told:
                halves.append(f"{group.name} {name}: {told}")
    assert not halves, "\n".join(halves)
