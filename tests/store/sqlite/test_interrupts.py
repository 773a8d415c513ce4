"""Protects: Ctrl-C ends a statement of SQLite and a wait for a lock at once, wherever it comes."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from spectui.store.database import connect
from tests.store.processes import ROOT, hear

SOON_S = 2.0
"""A second, and as much again for a busy machine; without an end these statements go on for ever."""

AT_WORK = """
import sys
from pathlib import Path
from spectui.store.database import connect
from spectui.store.export.sqlite import copy_session
from spectui.store.reading.reader import Reader
from spectui.store.sqlite.transactions import explained, transaction

ENDLESS = (
    "WITH RECURSIVE n(x) AS (SELECT begun() UNION ALL SELECT x + 1 FROM n) SELECT max(x) FROM n"
)
path, way = Path(sys.argv[1]), sys.argv[2]
connection = connect(path, read_only=way == "read")
connection.create_function("begun", 0, lambda: print("begun", flush=True) or 1)
while True:
    try:
        if way == "read":
            list(Reader(connection).scan(ENDLESS))
        elif way == "transaction":
            with transaction(connection):
                connection.execute("INSERT INTO token VALUES ('a', 1, x'00')")
                connection.execute(ENDLESS).fetchall()
        else:
            connection.execute(ENDLESS).fetchall()
    except KeyboardInterrupt:
        print("interrupted", connection.execute("SELECT count(*) FROM token").fetchone()[0], flush=True)
        break
    except Exception as error:
        if "user-defined function" not in str(error):
            raise
        # The signal came before that function was left, and hit no statement: once more.
"""


@pytest.mark.parametrize("way", ["read", "transaction"])
def test_ctrl_c_ends_a_statement(path: Path, way: str) -> None:
    connect(path).close()
    with subprocess.Popen(
        [sys.executable, "-c", AT_WORK, str(path), way], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if line == "begun\n":
                    began = time.monotonic()
                    process.send_signal(signal.SIGINT)
                else:
                    break
            assert line == "interrupted 0\n"
            assert time.monotonic() - began < SOON_S
        finally:
            process.kill()


@pytest.mark.parametrize("command", [["sessions", "ls"], ["report", "1"]])
def test_ctrl_c_ends_the_wait_for_a_locked_file(path: Path, command: list[str]) -> None:
    connect(path).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode = DELETE")
        other.execute("BEGIN EXCLUSIVE")
        with subprocess.Popen(
            [sys.executable, "-c", LISTENS, "--db", str(path), *command],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                hear(process, "looks")
                began = time.monotonic()
                process.send_signal(signal.SIGINT)
                _, errors = process.communicate(timeout=20)
                assert time.monotonic() - began < SOON_S
            finally:
                process.kill()
    assert (process.returncode, errors.strip().splitlines()[-1:]) == (1, ["spectui: interrupted"])


LISTENS = """
import sys
import spectui.store.database

examine = spectui.store.database.examine
def look(*args):
    print("looks", flush=True)
    return examine(*args)
spectui.store.database.examine = look
from spectui.tui.cli import main
main(sys.argv[1:])
"""
"""The command, saying when it comes to the file."""
