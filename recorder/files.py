"""The files of one process and role, bounded in size together with all else in the folder."""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from spectui.recorder.settings import Settings

NAME = re.compile(r"\d+-\d+-(engine|worker)\.jsonl")
PORTIONS = 16
"""A file that makes room for new ones is at most this part of what the folder may hold."""
PATIENCE = 1.0
"""Seconds until something that failed is tried again."""


class Files:
    """Lines go to the end of a file of ours. Nothing is raised: what could not be written is said by `problem`."""

    def __init__(self, settings: Settings, role: str, header: Callable[[int, int], bytes]) -> None:
        self.bytes = 0
        self.problem = ""
        self._folder, self._role, self._header = settings.folder, role, header
        self._limit, self._newest = int(settings.max_mb * 1e6), settings.keep == "new"
        self._descriptor: int | None = None
        self._path = ""
        self._start = self._part = self._size = self._granted = 0
        self._torn = False
        self._again = 0.0

    def write(self, lines: Sequence[bytes], *, counts: bool = False) -> int:
        """Append whole lines; the number of them that are in the file then. The last of the room is for `counts`."""
        if time.monotonic() < self._again and not counts:
            return 0
        try:
            written = self._append(
                b"".join(lines), self._limit if counts else self._limit - self._limit // PORTIONS
            )
        except OSError as error:
            self._fail(f"cannot write into {self._folder}: {error.strerror or error}")
            return 0
        return written.count(b"\n")

    def _append(self, data: bytes, limit: int) -> bytes:
        """The bytes of it that were written."""
        if (self._newest and self._size > self._limit // PORTIONS) or self._is_gone():
            self._end()
        if self._descriptor is None:
            os.makedirs(self._folder, mode=0o700, exist_ok=True)  # noqa: PTH103
        if not self._room(len(data), limit):
            self._fail(f"{self._folder} holds {self._limit / 1e6:g} MB")
            return b""
        if self._descriptor is None:
            self._begin()
        assert self._descriptor is not None
        line_end = b"\n" if self._torn else b""  # of a line that a full disk has cut
        count = os.write(self._descriptor, line_end + data)
        self._size += count
        self.bytes += count
        written = data[: max(0, count - len(line_end))]
        self._torn = not written.endswith(b"\n") and (bool(written) or self._torn)
        self.problem = ""
        if len(written) < len(data):
            self._fail(f"cannot write into {self._folder}: only a part was taken")
        return written

    def _begin(self) -> None:
        now = time.time_ns()
        self._start = self._start or now
        self._path = os.path.join(self._folder, f"{now}-{os.getpid()}-{self._role}.jsonl")  # noqa: PTH118
        header = self._header(self._start, self._part)
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        try:
            if os.write(descriptor, header) < len(header):
                raise OSError("only a part was taken")
        except OSError:
            os.close(descriptor)
            os.unlink(self._path)  # noqa: PTH108
            raise
        self._descriptor = descriptor
        self._part += 1
        self._size, self._torn = len(header), False
        self.bytes += len(header)

    def _is_gone(self) -> bool:
        """True where another process has removed the file to make room, or its user has."""
        return self._descriptor is not None and os.fstat(self._descriptor).st_nlink == 0

    def _end(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = None
        self._size = 0

    def _room(self, size: int, limit: int) -> bool:
        """True where so many bytes fit, as the folder was when last looked at: a sixteenth of its room ago at most."""
        if size > self._granted:
            sizes = self._sizes()
            free = limit - sum(sizes.values())
            for path, bytes_ in sizes.items() if self._newest and size <= limit else ():
                if free >= size:
                    break
                if path != self._path or self._descriptor is None:
                    with suppress(FileNotFoundError):  # another process makes room, too
                        os.unlink(path)  # noqa: PTH108
                    free += bytes_
            self._granted = max(size, free // PORTIONS) if free >= size else 0
        if size > self._granted:
            return False
        self._granted -= size
        return True

    def _sizes(self) -> dict[str, int]:
        """Recorders' files in the folder -> their bytes; the one that was written to least lately first."""
        recorded = []
        with os.scandir(self._folder) as entries:
            for entry in entries:
                if NAME.fullmatch(entry.name):
                    with suppress(FileNotFoundError):  # gone meanwhile
                        status = entry.stat(follow_symlinks=False)
                        if stat.S_ISREG(status.st_mode):
                            recorded.append((status.st_mtime_ns, entry.path, status.st_size))
        return {path: size for _, path, size in sorted(recorded)}

    def _fail(self, problem: str) -> None:
        self.problem = problem
        self._again = time.monotonic() + PATIENCE
