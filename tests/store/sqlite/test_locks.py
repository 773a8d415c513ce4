"""Protects a writer's log: another process that comes and goes must never delete it under the writer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from spectui.store.database import connect

COME_AND_GO = (
    "import sys; from spectui.store.reading.reader import Reader; "
    "reader = Reader(sys.argv[1]); reader.sessions(); reader.close()"
)


def test_opening_a_database_twice_in_a_process_keeps_the_locks_of_the_first(tmp_path: Path) -> None:
    # The worker does: one connection records, one of another thread writes the heartbeat. Looking at the
    # file's first bytes the second time dropped the POSIX locks of the first, and then whatever dashboard
    # was closed next took itself for the last user and deleted the log that was being written.
    path = tmp_path / "runs.db"
    first = connect(path)
    second = connect(path)
    first.execute("UPDATE session SET notes = ''")
    log = path.with_name("runs.db-wal")
    inode = log.stat().st_ino
    subprocess.run([sys.executable, "-c", COME_AND_GO, path], check=True)
    assert log.stat().st_ino == inode
    second.close()
    first.close()
    assert not log.exists()
