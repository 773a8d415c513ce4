"""The files of a folder that plugins write, read as they grow: by server, by process, in the order of their rows."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spectui.decoding.errors import UsageError
from spectui.servers.recordings.rows import (
    FORMAT,
    MOST_DRAFTED,
    MOST_LINE_BYTES,
    Damaged,
    Meta,
    printable,
    read_line,
)
from spectui.store.files import files_in

ENDING = ".jsonl"
CHUNK = 1 << 18
"""Bytes read at a time."""
MOST_FILES = 10_000


class Tail:
    """One file, read line by line from its start as it grows. A line that is cut waits for its rest."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = 0
        """Bytes of the lines that were taken."""
        self.damaged = 0
        """Lines that were too long to be read."""
        self.trouble = ""
        self._rest = b""
        self._skips = False
        self._descriptor: int | None = None

    def seek(self, offset: int) -> None:
        """Go to this place, which is the start of a line."""
        self.offset, self._rest = offset, b""

    def lines(self, most_bytes: int = CHUNK) -> list[bytes]:
        """Complete lines that were not taken yet, of about so many bytes; none at the end of the file."""
        taken: list[bytes] = []
        try:
            while not taken and (data := self._read(most_bytes)):
                taken = self._cut(data)
        except OSError as error:
            self.trouble = f"{self.path.name} cannot be read: {error.strerror}"
            return taken
        self.trouble = ""
        return taken

    def _cut(self, data: bytes) -> list[bytes]:
        """The lines that these bytes complete."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        taken = []
        for line in lines:
            self.offset += len(line) + 1
            if line and not self._skips:
                taken.append(line)
            self._skips = False
        if len(self._rest) > MOST_LINE_BYTES:  # skipped up to its end, whenever that comes
            self.offset += len(self._rest)
            self._rest, self.damaged, self._skips = b"", self.damaged + (not self._skips), True
        return taken

    def close(self) -> None:
        """Let go of the file; it is opened again when more is read."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _read(self, most_bytes: int) -> bytes:
        if self._descriptor is None:
            # Never a link or a pipe: whoever can write the folder could make us read, or wait, elsewhere.
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            self._descriptor = os.open(self.path, flags)
            if not stat.S_ISREG(os.fstat(self._descriptor).st_mode):
                self.close()
                raise OSError(0, "it is no file")
        return os.pread(self._descriptor, most_bytes, self.offset + len(self._rest))


@dataclass(eq=False)
class Stream:
    """The files of one process and role, one after the other."""

    role: str
    tails: list[Tail] = field(default_factory=list)
    metas: list[Meta] = field(default_factory=list)
    at: int = 0
    """The index of the file that is read."""

    def add(self, meta: Meta, tail: Tail) -> None:
        """Take up another file, in the order of its part."""
        place = sum(known.part <= meta.part for known in self.metas)
        self.metas.insert(place, meta)
        self.tails.insert(place, tail)

    @property
    def more(self) -> bool:
        """True while the file that is read has bytes that were not."""
        return self.at + 1 < len(self.tails) or (
            self.at < len(self.tails) and size_of(self.tails[self.at].path) > self.tails[self.at].offset
        )

    def lines(self) -> list[bytes]:
        """More lines; none at the end of the last file."""
        while self.at < len(self.tails):
            # Seen before reading: a file is never written again after the next one was begun.
            followed = self.at + 1 < len(self.tails)
            lines = self.tails[self.at].lines()
            if lines or not followed:
                return lines
            self.tails[self.at].close()
            self.at += 1
        return []


@dataclass
class Start:
    """The files of one start of a server."""

    key: str
    """Names it, whatever becomes of its files."""
    folder: Path
    streams: dict[tuple[str, int], Stream] = field(default_factory=dict)
    """By role and process."""

    @property
    def metas(self) -> list[Meta]:
        """The first rows of all files."""
        return [meta for stream in self.streams.values() for meta in stream.metas]

    @property
    def tails(self) -> list[Tail]:
        """All files."""
        return [tail for stream in self.streams.values() for tail in stream.tails]

    @property
    def facts(self) -> dict[str, Any]:
        """The facts that the processes tell of themselves and of the server; the engine has the last word."""
        engine_last = sorted(self.metas, key=lambda meta: meta.role == "engine")
        return {
            name: value for meta in engine_last for name, value in meta.facts.items() if value is not None
        }

    @property
    def depth(self) -> int:
        """Draft tokens of a round, at most; 0 where it is not known."""
        k = self.facts.get("k")
        return k if isinstance(k, int) and 0 < k <= MOST_DRAFTED else 0

    @property
    def switches(self) -> dict[str, Any]:
        """The switches of the server's recorder; {} of its first version, where all is on."""
        switches = self.facts.get("switches")
        return switches if isinstance(switches, dict) else {}

    @property
    def has_figures(self) -> bool:
        """False where no verdicts come, as the server's recorder is told to give none."""
        return any(self.switches.get(name) is not False for name in ("target", "draft"))

    def notes(self) -> Iterator[tuple[str, str]]:
        """Events that tell what the recorder leaves out: kind and words."""
        names = {"target": "the target's figures", "entropy": "entropies", "draft": "the draft's figures"}
        names["ids"] = "token ids"
        off = [words for name, words in names.items() if self.switches.get(name) is False]
        if off:
            yield "switches", f"switched off at the server: {', '.join(off)}"
        share = self.switches.get("sample")
        if isinstance(share, int | float) and share < 1:
            yield "sample", f"{share:.0%} of the requests are recorded, as the server was told"
        for meta in self.metas:
            parts = meta.facts.get("parts")
            for part, state in sorted(parts.items()) if isinstance(parts, dict) else ():
                if isinstance(state, str) and state not in ("on", "off"):
                    yield f"part {part}"[:40], f"{printable(part, 40)}: {printable(state, 120)}"

    def sizes(self) -> dict[str, int]:
        """File -> bytes of it now."""
        return {tail.path.name: size_of(tail.path) for tail in self.tails}

    def written_at(self) -> float:
        """The time at which any of the files was last written."""
        times = []
        for tail in self.tails:
            with suppress(OSError):
                times.append(tail.path.stat().st_mtime)
        return max(times, default=0.0)

    def close(self) -> None:
        """Let go of the files."""
        for tail in self.tails:
            tail.close()

    def places(self) -> dict[str, int]:
        """File -> bytes of it that were taken."""
        return {tail.path.name: tail.offset for tail in self.tails}

    def seek(self, places: Mapping[str, int]) -> None:
        """Go on where these files had been read to; the others are read from their start."""
        for tail in self.tails:
            place = places.get(tail.path.name)
            if isinstance(place, int) and place > 0:
                tail.seek(place)


class Folder:
    """A folder with the files of any number of servers."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.starts: dict[str, Start] = {}
        self.foreign: dict[str, str] = {}
        """Name of a file that is not read -> the reason."""
        self._known: set[str] = set()

    def look(self) -> list[str]:
        """Take up files that are new; returns the keys of starts that have any. Raises `UsageError`."""
        new: list[str] = []
        for name in self._names():
            tail = Tail(self.path / name)
            if (meta := self._meta(tail)) is None:
                tail.close()
                continue
            self._known.add(name)
            tail.close()
            key = f"{meta.host} {meta.run}" if meta.run else "prototype"
            start = self.starts.setdefault(key, Start(key, self.path))
            stream = start.streams.setdefault((meta.role, meta.pid), Stream(meta.role))
            stream.add(meta, tail)
            if key not in new:
                new.append(key)
        return new

    def _names(self) -> Iterator[str]:
        try:
            names = sorted(path.name for path in files_in(self.path) if path.name.endswith(ENDING))
        except OSError as error:
            raise UsageError(
                f"the folder {self.path} cannot be read ({error.strerror}); give --vllm-dir the folder that the server"
                " has as SPECTUI_VLLM_DIR"
            ) from error
        for name in names[-MOST_FILES:]:
            if name not in self._known and name not in self.foreign:
                yield name

    def _meta(self, tail: Tail) -> Meta | None:
        """The first row of a file; None where it is not whole yet, or the file is none of ours."""
        name = tail.path.name
        lines = tail.lines()
        if tail.trouble or tail.damaged:
            self.foreign[name] = tail.trouble or f"{name} is no recording"
            return None
        if not lines:
            return None
        try:
            rows = read_line(lines[0])
        except Damaged:
            rows = ()
        meta = rows[0] if rows else None
        if not isinstance(meta, Meta) or not meta.role:
            self.foreign[name] = f"{name} is no recording"
            return None
        if meta.format > FORMAT:
            self.foreign[name] = (
                f"{name} has format {meta.format}, which is newer than this spectui reads; update it"
            )
            return None
        tail.seek(len(lines[0]) + 1)
        return meta


def size_of(path: Path) -> int:
    """Bytes of a file; 0 of one that is gone."""
    try:
        return path.stat().st_size
    except OSError:
        return 0
