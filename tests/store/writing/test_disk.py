"""Protects: a full or read-only disk is said in one line, and nothing is half-written."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlite_utils import Database

from spectui.store.care.check import check
from spectui.store.database import connect
from spectui.store.errors import StoreError
from spectui.store.reading.reader import Reader
from tests.store.processes import ROOT
from tests.store.samples import claimed_writer, random_rounds, record_all, snapshot


def test_a_full_disk_stops_between_rounds(db: Database) -> None:
    writer = claimed_writer(db, ["code"])
    (generation,) = writer.pending_generations()
    writer.start_generation(generation.id)
    pages = db.execute("PRAGMA page_count").fetchone()[0]
    db.execute(f"PRAGMA max_page_count = {pages + 20}")
    recorded = 0

    def record_all_rounds() -> None:
        nonlocal recorded
        for record in random_rounds(2000, seed=1):
            writer.record_round(generation.id, record)
            recorded += 1

    with pytest.raises(StoreError, match="the disk is full") as refusal:
        record_all_rounds()
    assert len(str(refusal.value).splitlines()) == 1
    assert recorded > 0
    assert Reader(db).generation(generation.id).round_count == recorded
    assert check(db) == []
    # Once there is room the run can go on where it was.
    db.execute("PRAGMA max_page_count = 100000")
    writer.record_round(generation.id, random_rounds(recorded + 1, seed=1)[-1])
    assert check(db) == []


OUT_OF_ROOM = """
import resource, signal, sys
from pathlib import Path
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
from spectui.store.database import connect
from spectui.store.errors import StoreError
from tests.store.samples import claimed_writer, random_rounds
try:
    writer = claimed_writer(connect(Path(sys.argv[1])), ["code"])
    (generation,) = writer.pending_generations()
    writer.start_generation(generation.id)
    for record in random_rounds(2000, seed=1):
        writer.record_round(generation.id, record)
except StoreError as error:
    print(error)
    sys.exit(1)
"""


@pytest.mark.parametrize("limit", [20_000, 400_000], ids=["at creation", "while recording"])
def test_writes_the_system_refuses(path: Path, limit: int) -> None:
    run = subprocess.run(
        [sys.executable, "-c", OUT_OF_ROOM.format(limit=limit), str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert (run.returncode, run.stderr) == (1, "")
    assert len(run.stdout.splitlines()) == 1
    assert "could not be read or written" in run.stdout
    if limit == 20_000:
        assert list(path.parent.iterdir()) == []
    else:
        connection = connect(path)
        assert check(connection) == []
        assert Reader(connection).session(1).rounds > 0
        connection.close()


@pytest.fixture
def locked_folder(path: Path) -> Iterator[Path]:
    """A database in a folder that nobody may write, as on a read-only disk."""
    connection = connect(path)
    record_all(connection, ["code", "math"], 5)
    connection.close()
    path.chmod(0o444)
    path.parent.chmod(0o555)
    yield path
    path.parent.chmod(0o700)


def as_ordinary_user(code: str, path: Path) -> str:
    """The output of `code` with `path` in argv, run as somebody whom permissions bind (root they do not)."""
    # The imports come first: the other user may not be allowed to read where Python's packages lie.
    script = f"""
import os, sys
from pathlib import Path
import sqlite_utils
from spectui.store.care.check import check
from spectui.store.database import connect
from spectui.store.errors import StoreError
from spectui.store.schema.migrations import migrate
from spectui.store.reading.reader import Reader
path = Path(sys.argv[1])
if os.getuid() == 0:
    for folder in [path.parent, *path.parent.parents]:
        if folder.stat().st_uid == 0 and "pytest" in str(folder):
            folder.chmod(folder.stat().st_mode | 0o055)
    os.setgid(65534)
    os.setuid(65534)
try:
    {code}
except StoreError as error:
    print(error)
"""
    run = subprocess.run([sys.executable, "-c", script, str(path)], cwd=ROOT, capture_output=True, text=True)
    assert run.stderr == ""
    return run.stdout.strip()


def test_a_read_only_disk_can_be_read(locked_folder: Path) -> None:
    before = snapshot(locked_folder.parent)
    output = as_ordinary_user(
        "print(Reader(path).session('last').rounds, check(connect(path, read_only=True)))", locked_folder
    )
    assert output == "10 []"
    assert snapshot(locked_folder.parent) == before


def test_a_read_only_disk_cannot_be_written(locked_folder: Path) -> None:
    output = as_ordinary_user("connect(path)", locked_folder)
    assert (
        output == f"database {locked_folder} cannot be written; check its permissions, or give another --db"
    )


def test_a_folder_one_may_not_write_gets_no_database(tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o555)
    output = as_ordinary_user("connect(path)", folder / "spectui.db")
    assert (
        output == f"database {folder / 'spectui.db'} cannot be created: Permission denied; give another --db"
    )
    assert list(folder.iterdir()) == []


def test_a_copy_without_its_log_is_read_too(path: Path, tmp_path: Path) -> None:
    connection = connect(path)
    record_all(connection, ["code"], 5)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    copy = tmp_path / "copy.db"
    shutil.copy(path, copy)
    with Reader(copy) as reader:
        assert reader.session("last").rounds == 5
    connection.close()
