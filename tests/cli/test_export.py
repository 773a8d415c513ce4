"""Protects `sessions export`: what it writes, what it says, and that nothing is replaced by accident."""

from __future__ import annotations

import csv
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from spectui.store.database import open_database
from tests.cli.conftest import Invoke
from tests.store.samples import record_all


@pytest.fixture
def session(database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A session of two prompts with three rounds each; the working folder is empty."""
    db = open_database(database)
    record_all(db, ["code", "math"], 3)
    (name,) = db.execute("SELECT name FROM session").fetchone()
    db.close()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return str(name)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_tables_go_to_a_folder_named_after_the_session(
    invoke: Invoke, session: str, tmp_path: Path, kind: str
) -> None:
    result = invoke("sessions", "export", "--format", kind)
    assert result.exit_code == 0, result.stderr
    folder = tmp_path / "here" / f"{session}-{kind}"
    assert {file.name for file in folder.iterdir()} == {
        f"{t}.{kind}" for t in ("generation", "round", "node")
    }
    assert result.stdout.splitlines()[-1] == f"session 1 '{session}': 2 prompts, 6 rounds, 84 nodes"
    assert result.stderr == ""


def test_json_says_what_was_written(invoke: Invoke, session: str, tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder"
    written = json.loads(invoke("sessions", "export", session, "--out", out, "--json").stdout)
    assert written == {
        "session": 1,
        "name": session,
        "status": "finished",
        "format": "csv",
        "paths": [str(out / f"{table}.csv") for table in ("generation", "round", "node")],
        "rows": {"generation": 2, "round": 6, "node": 84},
    }
    with (out / "node.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 84


def test_a_database_is_a_session_of_its_own_that_doctor_finds_sound(
    invoke: Invoke, session: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert invoke("sessions", "export", "1", "--format", "sqlite").exit_code == 0
    out = tmp_path / "here" / f"{session}.db"
    with closing(sqlite3.connect(out)) as connection:
        assert connection.execute("SELECT count(*) FROM node").fetchone() == (84,)
    assert json.loads(invoke("sessions", "ls", "--db", out, "--json").stdout)[0]["name"] == session
    assert "Acceptance α" in invoke("report", "--db", out).stdout
    monkeypatch.setattr("spectui.tui.cli.commands.doctor._decoding", lambda problems: {})
    looked = invoke("doctor", "--db", out)
    assert (looked.exit_code, looked.stderr) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["frday"], "did you mean"),
        (["--format", "xlsx"], "'xlsx' is not one of"),
        (["--out", "taken"], "taken/node.csv is there already; --force replaces it"),
        (["--out", "taken/node.csv"], "is a file; name a folder"),
        (["--format", "sqlite", "--out", "."], "is a folder; name a file"),
    ],
)
def test_what_will_not_do_is_one_line_and_exit_2(
    invoke: Invoke, session: str, tmp_path: Path, arguments: list[str], said: str
) -> None:
    taken = tmp_path / "here" / "taken"
    taken.mkdir()
    (taken / "node.csv").write_text("mine")
    result = invoke("sessions", "export", *arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
    assert [file.name for file in (tmp_path / "here").rglob("*") if file.is_file()] == ["node.csv"]
    assert (taken / "node.csv").read_text() == "mine"
    if "there already" in said:
        assert invoke("sessions", "export", *arguments, "--force").exit_code == 0
        assert (taken / "node.csv").read_text() != "mine"
