"""Protects: no SQL that somebody put into a database file is run; files that hold any are refused, untouched."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from sqlite_utils import Database, Migrations

from spectui.store.care.space import vacuum
from spectui.store.database import connect
from spectui.store.errors import StoreError
from spectui.store.export.export import export_session
from spectui.store.reading.reader import Reader
from spectui.store.schema import steps as schema
from spectui.store.schema.check import examine
from tests.sources import calls, trees
from tests.store.samples import record_all, snapshot

ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT max(x) FROM n"

PLAIN = {
    "trigger": "CREATE TRIGGER helpful AFTER UPDATE ON session BEGIN DELETE FROM node; END",
    "trigger instead of": "ALTER TABLE event RENAME TO other; CREATE VIEW event AS SELECT * FROM other;"
    " CREATE TRIGGER helpful INSTEAD OF INSERT ON event BEGIN DELETE FROM node; END",
    "view": f"CREATE VIEW helpful AS {ENDLESS}",
    "view for a table": f"DROP TABLE event; CREATE VIEW event AS {ENDLESS}",
    "table": "CREATE TABLE helpful (x)",
    "generated column": "ALTER TABLE session ADD COLUMN helpful TEXT AS (hex(zeroblob(100000000)))",
    "check": f"ALTER TABLE command ADD COLUMN helpful INTEGER CHECK (helpful < ({'1' + '+1' * 9}))",
    "default": "ALTER TABLE session ADD COLUMN helpful REAL DEFAULT 1.0",
    "index": "CREATE INDEX helpful ON session (name)",
    "index on an expression": "CREATE INDEX helpful ON session (length(hex(zeroblob(length(name)))))",
    "partial index": "DROP INDEX event_generation; CREATE INDEX event_generation ON event (generation_id)"
    " WHERE length(hex(zeroblob(generation_id))) > 0",
    "collation": "DROP INDEX command_session;"
    " CREATE INDEX command_session ON command (session_id, taken_at COLLATE NOCASE)",
    "virtual table": "CREATE VIRTUAL TABLE helpful USING fts5(text)",
    "reference": "DROP TABLE event; CREATE TABLE event (id INTEGER PRIMARY KEY, session_id INTEGER NOT NULL"
    " REFERENCES session(id) ON UPDATE CASCADE, generation_id INTEGER, at TEXT, kind TEXT, text TEXT)",
    "a table less": "DROP TABLE pruned",
    "an index less": "DROP INDEX generation_progress",
    "migrations": "DROP TABLE _sqlite_migrations; CREATE VIEW _sqlite_migrations AS SELECT 'spectui' AS"
    " migration_set, '0001_initial' AS name",
    "migrations computed": "ALTER TABLE _sqlite_migrations ADD COLUMN helpful TEXT AS (hex(zeroblob(9)))",
    "trigger on migrations": "CREATE TRIGGER helpful AFTER INSERT ON _sqlite_migrations"
    " BEGIN DELETE FROM session; END",
    "trigger with a name of ours": "DROP INDEX event_session; CREATE TRIGGER event_session AFTER UPDATE ON session"
    " BEGIN DELETE FROM node; END",
}
TAMPERED = {
    "default": "UPDATE sqlite_master SET sql = replace(sql, 'notes TEXT NOT NULL DEFAULT ''''',"
    " 'notes TEXT NOT NULL DEFAULT (hex(zeroblob(100000000)))') WHERE name = 'session'",
    "check": "UPDATE sqlite_master SET sql = replace(sql, 'pid INTEGER,', 'pid INTEGER CHECK (pid > random()),')"
    " WHERE name = 'session'",
    "table that became a view": "UPDATE sqlite_master SET type = 'view', rootpage = 0, sql ="
    f" 'CREATE VIEW event AS {ENDLESS}' WHERE name = 'event'",
    "name of SQLite's own": "INSERT INTO sqlite_master (type, name, tbl_name, rootpage, sql) VALUES ('view',"
    f" 'sqlite_stat1', 'sqlite_stat1', 0, 'CREATE VIEW sqlite_stat1 AS {ENDLESS}')",
    "hidden trigger": "INSERT INTO sqlite_master (type, name, tbl_name, rootpage, sql) VALUES ('table',"
    " 'sqlite_sequence', 'session', 0, 'CREATE TRIGGER sqlite_x AFTER UPDATE ON session BEGIN DELETE FROM node; END')",
    "behind a comment": "UPDATE sqlite_master SET sql = replace(sql, 'pid INTEGER,',"
    " 'pid INTEGER, /**/ CHECK (pid > random()), /* */') WHERE name = 'session'",
    "behind a NUL": "UPDATE sqlite_master SET sql = sql || char(0) || ' CHECK (1)' WHERE name = 'session'",
    "letters alike": "UPDATE sqlite_master SET sql = replace(sql, 'stage TEXT', 'ſtage TEXT') WHERE name = 'session'",
}


def plant(path: Path, sql: str, *, tamper: bool = False) -> None:
    with closing(sqlite3.connect(path)) as other:
        if tamper:
            other.execute("PRAGMA writable_schema = ON")
        other.executescript(sql)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sound") / "spectui.db"
    connection = connect(path)
    record_all(connection, ["code"], 2)
    connection.close()
    return path


@pytest.fixture
def recorded(sound: Path, path: Path) -> Path:
    """A database with a session, in a folder of its own."""
    path.parent.mkdir()
    shutil.copy(sound, path)
    return path


CASES = [(sql, False) for sql in PLAIN.values()] + [(sql, True) for sql in TAMPERED.values()]
IDS = [*PLAIN, *(f"tampered: {name}" for name in TAMPERED)]


@pytest.mark.parametrize(("sql", "tamper"), CASES, ids=IDS)
def test_a_file_with_sql_of_others_is_refused_untouched(recorded: Path, sql: str, tamper: bool) -> None:
    plant(recorded, sql, tamper=tamper)
    before = snapshot(recorded.parent)
    for read_only in (True, False):
        with pytest.raises(StoreError) as refusal:
            connect(recorded, read_only=read_only)
        message = str(refusal.value)
        assert len(message.splitlines()) == 1
        assert str(recorded) in message
        assert "another --db" in message
    assert snapshot(recorded.parent) == before


def test_the_object_is_named(recorded: Path) -> None:
    plant(recorded, PLAIN["trigger"])
    with pytest.raises(StoreError, match="has a trigger 'helpful' that spectui did not make"):
        connect(recorded)
    plant(recorded, "DROP TRIGGER helpful")
    connect(recorded).close()


def test_what_stands_in_the_log_alone_is_seen_too(recorded: Path) -> None:
    with closing(sqlite3.connect(recorded)) as other:
        other.executescript(PLAIN["trigger"])
        assert recorded.with_name(recorded.name + "-wal").stat().st_size
        for read_only in (True, False):
            with pytest.raises(StoreError, match="trigger 'helpful'"):
                connect(recorded, read_only=read_only)


@pytest.mark.parametrize("suffix", ["-wal", "-journal", "-shm"])
@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_links_in_the_place_of_sqlites_own_files_are_not_followed(
    recorded: Path, tmp_path: Path, suffix: str, kind: str
) -> None:
    precious = tmp_path / "precious"
    precious.write_text("text " * 2000)
    beside = recorded.with_name(recorded.name + suffix)
    if kind == "link":
        beside.symlink_to(precious)
    else:
        os.mkfifo(beside)
    # Looked at once per process, so as a process that meets the file for the first time.
    other = recorded.with_name("again.db")
    recorded.rename(other)
    beside.rename(other.with_name(other.name + suffix))
    for read_only in (True, False):
        with pytest.raises(StoreError, match="is not a regular file, but SQLite would write to it"):
            connect(other, read_only=read_only)
    assert precious.read_text() == "text " * 2000


@pytest.mark.parametrize("count", range(1, len(schema.STEPS) + 1))
def test_files_of_every_version_of_ours_pass(path: Path, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    with monkeypatch.context() as before:
        before.setattr("spectui.store.schema.migrations.STEPS", schema.STEPS[:count])
        before.setattr("spectui.store.schema.check.STEPS", schema.STEPS[:count])
        connect(path).close()
    with closing(sqlite3.connect(path)) as other:
        assert examine(other, path) == (count < len(schema.STEPS))
    connect(path).close()
    with closing(sqlite3.connect(path)) as other:
        assert examine(other, path) is False


def _older_library(path: Path) -> None:
    """As sqlite-migrate and the first sqlite-utils with migrations made their table: two names as its key."""
    plant(
        path,
        "ALTER TABLE _sqlite_migrations RENAME TO new; CREATE TABLE [_sqlite_migrations] (\n   [migration_set] TEXT,\n"
        "   [name] TEXT,\n   [applied_at] TEXT,\n   PRIMARY KEY ([migration_set], [name])\n);"
        "INSERT INTO _sqlite_migrations SELECT migration_set, name, applied_at FROM new; DROP TABLE new",
    )


def _migrations_of_another(path: Path) -> None:
    others = Migrations("another program")
    others(name="0001")(lambda db: None)
    others.apply(Database(path))


def _brought_up_to_date(path: Path) -> None:
    _older_library(path)
    _migrations_of_another(path)


HARMLESS: dict[str, Callable[[Path], None]] = {
    "analyzed": lambda path: plant(path, "ANALYZE"),
    "vacuumed": lambda path: plant(path, "VACUUM"),
    "older sqlite-utils": _older_library,
    "other migrations": _migrations_of_another,
    "older sqlite-utils, brought up to date": _brought_up_to_date,
}


@pytest.mark.parametrize("name", HARMLESS)
def test_what_sqlite_and_its_library_add_passes(recorded: Path, name: str) -> None:
    HARMLESS[name](recorded)
    with Reader(recorded) as reader:
        assert reader.session("last").rounds == 2
    connection = connect(recorded)
    vacuum(connection)
    connection.close()


def test_copies_pass(recorded: Path, tmp_path: Path) -> None:
    with Reader(recorded) as reader:
        export_session(reader, 1, "sqlite", tmp_path / "export.db")
    with (
        closing(sqlite3.connect(recorded)) as other,
        closing(sqlite3.connect(tmp_path / "backup.db")) as copy,
    ):
        other.backup(copy)
        other.execute("VACUUM INTO ?", [str(tmp_path / "into.db")])
    for name in ("export.db", "backup.db", "into.db"):
        with Reader(tmp_path / name) as reader:
            assert reader.session("last").rounds == 2


def test_a_schema_laid_out_in_another_way_passes(recorded: Path) -> None:
    # Comments and layout in `store.schema.steps` may change, and files keep what they were made with.
    plant(
        recorded,
        "UPDATE sqlite_master SET sql = replace(replace(sql, char(10), '  ' || char(10) || '-- a note' || char(10)),"
        " 'INTEGER', 'integer') WHERE sql LIKE '%(%' AND name NOT LIKE 'sqlite%'",
        tamper=True,
    )
    connect(recorded).close()


def test_connections_trust_no_schema(recorded: Path) -> None:
    for read_only in (True, False):
        with closing(connect(recorded, read_only=read_only)) as connection:
            assert connection.execute("PRAGMA trusted_schema").fetchone() == (0,)


def test_files_are_opened_where_they_are_examined_alone() -> None:
    opened = {
        (path, where)
        for path, tree in trees().items()
        for where, name, _ in calls(tree)
        if name in ("sqlite3.connect", "sqlite3.Connection", "sqlite3.dbapi2.connect")
    }
    assert opened == {
        ("store/database.py", "_connect"),
        ("store/schema/check.py", "_made_by"),  # in memory
        ("store/export/sqlite.py", "copy_session"),  # an empty file of ours
        ("store/care/backup.py", "back_up"),  # an empty file of ours
    }
