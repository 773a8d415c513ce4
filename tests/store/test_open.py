"""Protects: how files are created and opened, and that opening one that is up to date costs next to nothing."""

from __future__ import annotations

import sqlite3
import stat
from pathlib import Path

import pytest
from sqlite_utils import Database

from spectui.store.database import connect, open_database
from spectui.store.errors import StoreError
from spectui.store.paths import default_database
from spectui.store.schema.steps import APPLICATION_ID
from tests.store.processes import fresh_python
from tests.store.samples import make_session, record_all


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_database_is_private(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "spectui.db"
    connection = connect(path)
    make_session(connection)
    assert [mode(tmp_path / "a"), mode(tmp_path / "a" / "b")] == [0o700, 0o700]
    files = sorted(path.parent.iterdir())
    assert [file.name for file in files] == ["spectui.db", "spectui.db-shm", "spectui.db-wal"]
    assert {mode(file) for file in files} == {0o600}
    connection.close()
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_that_was_there_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    connect(tmp_path / "spectui.db").close()
    assert mode(tmp_path) == 0o755


def test_the_file_says_whose_it_is_and_how_it_is_written(db: Database) -> None:
    assert isinstance(db, Database)
    pragmas = {
        name: db.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("application_id", "journal_mode", "foreign_keys", "busy_timeout")
    }
    assert pragmas == {
        "application_id": APPLICATION_ID,
        "journal_mode": "wal",
        "foreign_keys": 1,
        "busy_timeout": 10_000,
    }


def test_an_empty_file_becomes_a_database(tmp_path: Path) -> None:
    path = tmp_path / "made-by-mktemp"
    path.touch(0o644)
    connection = connect(path)
    assert make_session(connection) == 1
    assert mode(path) == 0o600
    connection.close()


@pytest.mark.parametrize("name", ["a b.db", "what?.db", "50%.db", "#1.db", "ümläut.db", "mode=ro&x.db"])
def test_any_file_name_will_do(tmp_path: Path, name: str) -> None:
    connect(tmp_path / name).close()
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to(tmp_path / "real.db")
    connect(tmp_path / "link.db").close()
    assert (tmp_path / "real.db").is_file()
    assert (tmp_path / "link.db").is_symlink()


def test_what_was_recorded_is_there_when_opened_again(path: Path) -> None:
    db = open_database(path)
    record_all(db, ["code"], 3)
    db.close()
    again = open_database(path)
    assert again["round"].count == 3
    again.close()


def test_an_up_to_date_file_opens_without_sqlite_utils(path: Path) -> None:
    connect(path).close()
    code = f"""
import sys
from spectui.store.reading.reader import Reader
with Reader({str(path)!r}) as reader:
    reader.sessions()
print(sorted({{"torch", "textual", "numpy", "sqlite_utils", "psutil", "scipy"}} & set(sys.modules)))
"""
    assert fresh_python(code) == "[]"


def test_read_only_refuses_to_write(path: Path) -> None:
    connect(path).close()
    connection = connect(path, read_only=True)
    with pytest.raises(StoreError, match="cannot be written"):
        make_session(connection)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        connection.execute("DELETE FROM session")
    connection.close()


def test_the_default_place_is_the_users_unless_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPECTUI_DB", raising=False)
    assert default_database().name == "spectui.db"
    assert "spectui" in default_database().parent.name
    monkeypatch.setenv("SPECTUI_DB", "~/elsewhere.db")
    assert default_database() == Path.home() / "elsewhere.db"
