"""Protects: files that are not ours, newer, damaged or out of reach are refused in one line, untouched."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from spectui.store.care.check import check
from spectui.store.database import connect
from spectui.store.errors import StoreError
from spectui.store.reading.reader import Reader
from spectui.tui.cli import main
from tests.cli.test_advise import session
from tests.store.samples import record_all, snapshot


def text_file(path: Path) -> None:
    path.write_text("dear diary, " * 500)


def short_file(path: Path) -> None:
    path.write_bytes(b"SQL")


def foreign(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE session (id INTEGER PRIMARY KEY)")
    connection.commit()
    connection.close()


def foreign_wal(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.close()
    foreign(path)


def ours_with_other_tables(path: Path) -> None:
    foreign(path)
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA application_id = {0x73706374}")
    connection.commit()
    connection.close()


def newer(path: Path) -> None:
    connection = connect(path)
    record_all(connection, ["code"], 2)
    connection.execute(
        "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('spectui', '9000_future', '')"
    )
    connection.close()


def damaged(path: Path) -> None:
    connection = connect(path)
    record_all(connection, ["code"], 2)
    connection.close()
    with path.open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * 3000)


def folder(path: Path) -> None:
    path.mkdir()


def pipe(path: Path) -> None:
    os.mkfifo(path)


REFUSED: list[tuple[Callable[[Path], None], str]] = [
    (text_file, "is not a database"),
    (short_file, "is not a database"),
    (foreign, "another program"),
    (foreign_wal, "another program"),
    (ours_with_other_tables, "another program"),
    (newer, "newer spectui"),
    (damaged, "is damaged"),
    (folder, "is not a file"),
    (pipe, "is not a file"),
]


@pytest.mark.parametrize(("make", "reason"), REFUSED, ids=[make.__name__ for make, _ in REFUSED])
@pytest.mark.parametrize("read_only", [False, True])
def test_refused_in_one_line_and_untouched(
    tmp_path: Path, make: Callable[[Path], None], reason: str, read_only: bool
) -> None:
    path = tmp_path / "given.db"
    make(path)
    path.chmod(0o644 if path.is_file() else 0o755)
    before = snapshot(tmp_path) if make is not pipe else {}
    with pytest.raises(StoreError, match=reason) as refusal:
        connect(path, read_only=read_only)
    assert len(str(refusal.value).splitlines()) == 1
    assert str(path) in str(refusal.value)
    if make is not pipe:
        assert snapshot(tmp_path) == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_newer_file_in_use_by_its_writer_is_refused_too(path: Path) -> None:
    # Its migration is still in the log then, not in the file.
    connection = connect(path)
    connection.execute(
        "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('spectui', '9000_future', '')"
    )
    with pytest.raises(StoreError, match="newer spectui"):
        connect(path)
    connection.close()


def test_a_missing_file_is_not_made_by_looking(tmp_path: Path) -> None:
    for look in (lambda p: connect(p, create=False), lambda p: connect(p, read_only=True), Reader):
        with pytest.raises(StoreError, match="there is no database at"):
            look(tmp_path / "none" / "spectui.db")
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match=r"cannot be (read|created)"):
        connect(tmp_path / "file" / "spectui.db")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_path_that_leads_nowhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "one").symlink_to(tmp_path / "two")
    (tmp_path / "two").symlink_to(tmp_path / "one")
    for path in (tmp_path / "one", "~nobody-of-this-name/x.db", tmp_path / ("x" * 300)):
        with pytest.raises(StoreError, match="give another --db") as refusal:
            connect(path)
        assert len(str(refusal.value).splitlines()) == 1


def test_a_foreign_database_in_use_gets_no_company(tmp_path: Path) -> None:
    path = tmp_path / "busy.db"
    other = sqlite3.connect(path)
    other.execute("PRAGMA journal_mode = WAL")
    other.execute("CREATE TABLE t (x)")
    other.commit()
    before = snapshot(tmp_path)
    with pytest.raises(StoreError, match="another program"):
        connect(path)
    assert snapshot(tmp_path) == before
    other.close()


UNSOUND = {
    "a rollup of no task": "UPDATE OR IGNORE rollup_task SET task = 'none'",
    "a rollup of a session in words": "UPDATE OR IGNORE rollup_task SET session_id = '{\"a\": NaN}'",
    "a count in words": "UPDATE rollup_depth SET overlap_count = '[1'",
    "a parent without bounds": "UPDATE node SET parent = 1e999",
    "a depth without bounds": "UPDATE node SET depth = 1e999",
    "a parent of bytes": "UPDATE node SET parent = zeroblob(3000)",
    "a prompt of bytes": "UPDATE generation SET messages = zeroblob(3000)",
    "a task in bytes": "UPDATE OR IGNORE rollup_depth SET task = x'ff'",
}
COMMANDS = (
    ["sessions", "ls"], ["sessions", "show", "1", "--json"], ["report", "1"], ["compare", "1", "2"], ["advise", "1"],
    ["sessions", "export", "1", "--format", "jsonl", "--force"],
)  # fmt: skip


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", UNSOUND)
def test_values_of_another_kind_cost_a_line(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch, two_sessions: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "given.db"
    shutil.copy(two_sessions, path)
    other = sqlite3.connect(path)
    other.execute(UNSOUND[name])
    other.commit()
    other.close()
    for command in COMMANDS:
        done = CliRunner().invoke(main, [*command, "--db", str(path)])
        assert done.exit_code in (0, 1, 2)
        assert len(done.stderr.splitlines()) <= 1 or command[1] == "export", done.stderr
        assert "--debug shows where" not in done.stderr, (command, done.stderr)
    connection = connect(path, read_only=True)
    check(connection)
    connection.close()


@pytest.fixture(scope="module")
def two_sessions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("two") / "runs.db"
    for _ in range(2):
        session(path)
    return path
