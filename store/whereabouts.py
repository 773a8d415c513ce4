"""A worker's whereabouts: its system, process and file, which can be compared without asking it.

A pid alone says little: it is used again, it means another process in a container or after a restart, and the
copy of a database names the worker of the original.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from spectui.store.sqlite.file_system import network_kind

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_PIDS = Path("/proc/self/ns/pid")
_DEAD = ("Z", "X", "x")


class FileIdentity(NamedTuple):
    """Identity of a file, unlike that of its copies and unchanged by moves on its file system."""

    device: int
    inode: int
    lasting: bool = True
    """False on network file systems, whose numbers may be others from other machines."""


@dataclass(frozen=True)
class Whereabouts:
    """The whereabouts of a worker; "" and 0 stand for what its system does not tell."""

    boot: str = ""
    """The system since it was last started."""
    pids: int = 0
    """The pid namespace."""
    started: int = 0
    """Start of the process, in clock ticks since the system was started: no clock that is set changes it."""
    device: int = 0
    inode: int = 0
    """Identity of the database file."""

    @property
    def local(self) -> bool | None:
        """True when its pids are this process's pids too; None where that was not recorded."""
        return (self.boot, self.pids) == (boot_id(), pid_namespace()) if self.boot else None

    def same_process(self, other: Whereabouts) -> bool:
        """True unless both tell their system, namespace or start, and they differ."""
        pairs = ((self.boot, other.boot), (self.pids, other.pids), (self.started, other.started))
        return all(one == another for one, another in pairs if one and another)

    def works_on_other_file(self, file: FileIdentity) -> bool | None:
        """True when it works on another file than this, maybe a copy; None where that cannot be told."""
        if not self.inode:
            return None
        same = (self.device, self.inode) == (file.device, file.inode)
        if self.boot and self.boot == boot_id() and file.lasting:
            return not same
        return False if same else None

    def alive(self, pid: int) -> bool | None:
        """True when process `pid` of this system is the one meant and runs; None where that cannot be told."""
        if not self.started:
            return None
        process = _process(pid)
        return process is not None and process[0] not in _DEAD and process[1] == self.started

    def to_json(self) -> str:
        """The whereabouts as JSON, for the session's row."""
        return json.dumps(asdict(self))


def whereabouts(pid: int, path: Path | str) -> Whereabouts:
    """The whereabouts of process `pid` of this system, at work on the database at `path`."""
    process, file = _process(pid), identity(path)
    return Whereabouts(
        boot_id(),
        pid_namespace(),
        process[1] if process else 0,
        file.device if file else 0,
        file.inode if file else 0,
    )


def read_whereabouts(text: str) -> Whereabouts:
    """The inverse of `to_json`; nothing is known from any other text."""
    try:
        fields_of = json.loads(text)
        kinds = {"boot": str}
        known = {f.name: fields_of[f.name] for f in fields(Whereabouts) if f.name in fields_of}
        if all(type(value) is kinds.get(name, int) for name, value in known.items()):
            return Whereabouts(**known)
    except (ValueError, TypeError, RecursionError):
        pass
    return Whereabouts()


def identity(path: Path | str) -> FileIdentity | None:
    """Identity of the file at `path`, which is never opened (see `store.database`); None where there is none."""
    try:
        status = Path(path).stat()
    except (OSError, ValueError):
        return None
    return FileIdentity(status.st_dev, status.st_ino, network_kind(Path(path)) is None)


@lru_cache(maxsize=1)
def boot_id() -> str:
    """A name of this system since it was last started; "" where it has none."""
    try:
        return _BOOT.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


@lru_cache(maxsize=1)
def pid_namespace() -> int:
    """The number of this process's pid namespace; 0 where there are none."""
    try:
        return _PIDS.stat().st_ino
    except OSError:
        return 0


def stopped(pid: int) -> bool:
    """True when a signal, or a debugger, has stopped process `pid` of this system."""
    process = _process(pid)
    return process is not None and process[0] in ("T", "t")


def _process(pid: int) -> tuple[str, int] | None:
    """State and start of a process; None where there is none, or the system does not tell."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The name in parentheses may hold blanks and parentheses; state and 19 numbers on, the start, follow it.
    rest = text.rpartition(")")[2].split()
    return (rest[0], int(rest[19])) if len(rest) > 19 and rest[19].isdecimal() else None
