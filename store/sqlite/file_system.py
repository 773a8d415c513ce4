"""File systems of databases: SQLite's write-ahead log needs memory that all its users share.

On a file system of another machine there is none, so that a log there loses or damages data (sqlite.org/wal.html).
A rollback journal only needs locks, which NFS 4 and Lustre (mounted with ``flock``) have.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

_PLAIN = "nfs nfs4 lustre cifs smb3 smbfs afs beegfs ceph gpfs panfs orangefs pvfs2 ocfs2 gfs2"
_FUSE = "sshfs glusterfs ceph beegfs juicefs s3fs rclone mfs"
NETWORK = frozenset([*_PLAIN.split(), *(f"fuse.{name}" for name in _FUSE.split())])
"""Types, as in /proc/mounts, whose files other machines may have open too."""

MOUNTS = Path("/proc/self/mounts")

COST = (
    "its rollback journal makes every round wait for the server, and the worker and whoever watches it for each other;"
    " --db on a local disk avoids that"
)
"""The cost of doing without a write-ahead log, in words."""


def network_kind(path: Path) -> str | None:
    """The type of the network file system that `path` lies on; None for a local or unknown one.

    ``SPECTUI_JOURNAL=wal`` or ``=delete`` says it in place of the system, for those that hide it.
    """
    asked = os.environ.get("SPECTUI_JOURNAL")
    if asked in ("wal", "delete"):
        return None if asked == "wal" else "a file system without shared memory"
    kind = _kind(path)
    return kind if kind in NETWORK else None


def _kind(path: Path) -> str:
    """Type of the mount with the longest part of `path`; "" where there are no mounts to read."""
    try:
        lines = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return ""
    best, kind = -1, ""
    for line in lines:
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        place = Path(_unescaped(fields[1]))
        # The last of several mounts on one place is the one that is seen.
        if path.is_relative_to(place) and len(place.parts) >= best:
            best, kind = len(place.parts), fields[2]
    return kind


def _unescaped(place: str) -> str:
    """A path of /proc/mounts, where blanks and the like are three octal digits."""
    return re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), place)
