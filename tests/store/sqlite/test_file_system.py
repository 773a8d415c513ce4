"""Protects: on a file system of another machine there is no write-ahead log, and everything works without it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from spectui.store.care.check import check
from spectui.store.database import connect
from spectui.store.reading.reader import Reader
from spectui.store.sqlite import file_system
from spectui.store.sqlite.file_system import network_kind
from tests.store.samples import record_all

MOUNTS = """\
/dev/vda / ext4 rw,relatime 0 0
tmpfs /tmp tmpfs rw 0 0
server:/home /home nfs4 rw,vers=4.2 0 0
server:/old /home/old nfs rw 0 0
/dev/vdb /home/ada/local xfs rw 0 0
10.0.0.1@tcp:/scratch /scratch\\040disk lustre rw,flock 0 0
ada@box: /mnt/box fuse.sshfs rw 0 0
/dev/vdc /over ext4 rw 0 0
server:/over /over nfs4 rw 0 0
cut short
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/lib/spectui.db", None),
        ("/home/ada/spectui.db", "nfs4"),
        ("/home/old/spectui.db", "nfs"),
        ("/home/ada/local/spectui.db", None),
        ("/homes/spectui.db", None),
        ("/scratch disk/spectui.db", "lustre"),
        ("/mnt/box/a/b.db", "fuse.sshfs"),
        ("/over/spectui.db", "nfs4"),
    ],
)
def test_the_mount_a_path_lies_on_is_found(
    path: str, kind: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNTS)
    monkeypatch.setattr(file_system, "MOUNTS", mounts)
    assert network_kind(Path(path)) == kind


def test_where_mounts_are_not_told_files_are_taken_for_local(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_system, "MOUNTS", tmp_path / "none")
    assert network_kind(tmp_path) is None


def test_without_a_write_ahead_log_all_is_recorded_and_read_by_others(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_system, "_kind", lambda _: "nfs4")
    with closing(connect(path)) as connection, Reader(path) as other:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert other.changed()
        session = record_all(connection, ["code", "math"], 5)
        assert other.changed()
        assert other.session(session).rounds == 10
        assert check(connection) == []
        assert not path.with_name(path.name + "-wal").exists()
    assert list(path.parent.iterdir()) == [path]


def test_a_database_that_was_moved_there_gives_its_log_up(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(connect(path)) as connection:
        record_all(connection, ["code"], 5)
    monkeypatch.setenv("SPECTUI_JOURNAL", "delete")
    with closing(connect(path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
        assert Reader(connection).session("last").rounds == 5
    monkeypatch.setenv("SPECTUI_JOURNAL", "wal")
    with closing(connect(path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert check(connection) == []
