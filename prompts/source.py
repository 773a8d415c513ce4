"""The text of a prompt file: from a file, a pipe or stdin, unpacked and as UTF-8, a bounded part at a time.

Kinds are known by their first bytes, never by the name. Nothing here holds more than a line and a few chunks.
"""

from __future__ import annotations

import bz2
import codecs
import lzma
import re
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Protocol

STDIN = "-"
"""The file name that stands for standard input."""

MAX_BYTES = 1 << 30
"""Most bytes that are read of a file, unpacked."""
MAX_LINES = 4_000_000
MAX_ITEM = 16 << 20
"""Most bytes of a line, of an item of a JSON list, or of a row of a table."""
CHUNK = 1 << 16
XZ_MEMORY = 128 << 20
"""Most bytes that an xz file may ask for to be unpacked in; what `xz -9` makes needs 65 MiB."""


class BadFile(Exception):  # noqa: N818
    """The reason that a file cannot be read, or not further than `line` (0: at all), in a few words."""

    def __init__(self, reason: str, line: int = 0) -> None:
        super().__init__(reason)
        self.line = line


class Source:
    """The unread rest of an open file, with its beginning to look at."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        parts, size = [], 0
        for part in chunks:
            parts.append(part)
            size += len(part)
            if size >= CHUNK:
                break
        head = b"".join(parts)
        if b"\r" in head and b"\n" not in head:  # the line ends of old Macs
            head = head.replace(b"\r", b"\n")
            chunks = (part.replace(b"\r", b"\n") for part in chunks)
        self.head = head
        """Its first `CHUNK` bytes or more, UTF-8 without a byte order mark."""
        self._rest = chunks

    def chunks(self) -> Iterator[bytes]:
        """All of it, from the head on."""
        return chain((self.head,) if self.head else (), self._rest)

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Its lines without their ``\\n``, numbered from 1. Raises `BadFile` for one longer than `MAX_ITEM`."""
        number, kept, size = 1, list[bytes](), 0
        for part in self.chunks():
            # At LF alone: JSON strings may hold U+2028 and the like, at which splitlines() would cut.
            first, *others = part.split(b"\n")
            kept.append(first)
            size += len(first)
            if size > MAX_ITEM:
                raise BadFile(f"this line is longer than {MAX_ITEM >> 20} MiB; {SHORTER}", number)
            if not others:
                continue
            yield number, b"".join(kept)
            for number, line in enumerate(others[:-1], number + 1):  # noqa: B020
                yield number, line
            number += 1
            kept, size = [others[-1]], len(others[-1])
            if number > MAX_LINES:
                raise BadFile(f"more than {MAX_LINES} lines; {SHORTER}", number)
        yield number, b"".join(kept)


US = "spectui prompts check -"
SHORTER = f"give a smaller part of it, as: head -n 1000 FILE | {US}"


@contextmanager
def opened(path: str | Path) -> Iterator[Source]:
    """The file at `path`, or stdin for `STDIN`. Raises `BadFile`, here and while it is read, with what to do."""
    with _stream(path) as stream:
        yield Source(_text(_chunks(stream)))


def name_of(path: str | Path) -> str:
    """The name of a file in messages."""
    return "stdin" if str(path) == STDIN else str(path)


@contextmanager
def _stream(path: str | Path) -> Iterator[BinaryIO]:
    if str(path) == STDIN:
        if sys.stdin is None or sys.stdin.closed:
            raise BadFile("it is closed; name a file, or give the prompts through a pipe")
        if sys.stdin.isatty():
            sys.stderr.write("reading prompts from the terminal; ctrl+d on a line of its own ends them\n")
        yield sys.stdin.buffer
        return
    try:
        file = Path(path).open("rb")  # noqa: SIM115
    except FileNotFoundError:
        raise BadFile("no such file") from None
    except IsADirectoryError:
        raise BadFile("cannot be read: it is a folder; name a file in it") from None
    except OSError as error:
        raise BadFile(f"cannot be read: {error.strerror or error}") from None
    except ValueError:  # a NUL in the name
        raise BadFile("not a file name") from None
    with file:
        yield file


def _chunks(stream: BinaryIO) -> Iterator[bytes]:
    try:
        while part := stream.read(CHUNK):
            yield part
    except OSError as error:
        raise BadFile(f"cannot be read: {error.strerror or error}") from None


def _text(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The file unpacked, in UTF-8 without a byte order mark, cut off where there is too much of it."""
    head, chunks = _peek(chunks)
    for magic, (make, name) in PACKED.items():
        if head.startswith(magic):
            head, chunks = _peek(_unpacked(chunks, make, name))
            if any(head.startswith(other) for other in PACKED):
                raise BadFile(f"this is a packed file within a {name} file; unpack it once")
            break
    _refuse_other_kinds(head)
    mark, encoding = next((each for each in MARKS if head.startswith(each[0])), (b"", "utf-8"))
    chunks = _without_mark(mark, chunks)
    if encoding != "utf-8":
        chunks = _recoded(chunks, encoding)
    size, line = 0, 1
    for part in chunks:
        size += len(part)
        if (at := part.find(b"\0")) >= 0:
            raise BadFile(_explain_nul(head), line + part.count(b"\n", 0, at) if size > len(part) else 0)
        if size > MAX_BYTES:
            raise BadFile(f"more than {MAX_BYTES >> 30} GiB of text; {SHORTER}", line)
        line += part.count(b"\n")
        yield part


def _peek(chunks: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """The first bytes, enough to know every kind by, and all of them again."""
    head = b""
    for part in chunks:
        head += part
        if len(head) >= 512:
            break
    return head, chain((head,) if head else (), chunks)


def _without_mark(mark: bytes, chunks: Iterator[bytes]) -> Iterator[bytes]:
    first = next(chunks, b"")[len(mark) :]
    return chain((first,) if first else (), chunks)


class _Unpacker(Protocol):
    """The interface of `bz2` and `lzma` unpackers: a bounded piece at a time."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _Gzip:
    """A zlib unpacker with the interface of those of `bz2` and `lzma`."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(31)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        out = self._inner.decompress(self._inner.unconsumed_tail + data, max_length)
        # A full piece may have more behind it that zlib holds itself.
        self.needs_input = len(out) < max_length
        return out


def _xz() -> _Unpacker:
    return lzma.LZMADecompressor(memlimit=XZ_MEMORY)


PACKED: dict[bytes, tuple[Callable[[], _Unpacker], str]] = {
    b"\x1f\x8b": (_Gzip, "gzip"),
    b"BZh": (bz2.BZ2Decompressor, "bzip2"),
    b"\xfd7zXZ\0": (_xz, "xz"),
}
"""First bytes -> what unpacks it, its name."""


def _unpacked(packed: Iterable[bytes], make: Callable[[], _Unpacker], name: str) -> Iterator[bytes]:
    """Streams one behind the other, as `cat a.gz b.gz` makes them, unpacked."""
    unpacker, begun = make(), False
    try:
        for part in packed:
            while part or not (unpacker.needs_input or unpacker.eof):
                begun = True
                out = unpacker.decompress(part, CHUNK)
                part = b""
                if out:
                    yield out
                if unpacker.eof:
                    part = unpacker.unused_data.lstrip(b"\0")  # tapes and discs fill up with zeros
                    unpacker, begun = make(), False
    except lzma.LZMAError as error:
        if "emory" in str(error):
            raise BadFile(f"unpacking this {name} file takes too much memory; unpack it yourself") from None
        raise BadFile(f"the {name} file is damaged; fetch it again") from None
    except (OSError, EOFError, ValueError, zlib.error):
        raise BadFile(f"the {name} file is damaged; fetch it again") from None
    if begun:
        raise BadFile(f"the {name} file is damaged: its end is missing; fetch it again")


MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # begins as UTF-16's does
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def _recoded(chunks: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)()
    line = 1
    try:
        for part in chunks:
            out = decoder.decode(part).encode()
            line += out.count(b"\n")
            if out:
                yield out
        if out := decoder.decode(b"", final=True).encode():
            yield out
    except UnicodeDecodeError:
        raise BadFile(f"not {encoding.upper()} as its first bytes say; save it as UTF-8", line) from None


OTHERS = (
    (
        rb"PAR1",
        "a Parquet file",
        "from a file it is read with pip install 'spectui[parquet]'; or give its rows as JSON Lines",
    ),
    (rb"PK\x03\x04", "a zip archive (or a spreadsheet)", f"give the file in it, as: unzip -p FILE NAME | {US}"),
    (rb"\x28\xb5\x2f\xfd", "a Zstandard file, which Python cannot unpack", f"unpack it, as: zstd -dc FILE | {US}"),
    (rb"\x04\x22\x4d\x18", "an lz4 file", f"unpack it, as: lz4 -dc FILE | {US}"),
    (rb"7z\xbc\xaf\x27\x1c", "a 7z archive", "give the file in it"),
    (rb"Rar!", "a rar archive", "give the file in it"),
    (rb".{257}ustar", "a tar archive", f"give the file in it, as: tar -xOf FILE NAME | {US}"),
    (rb"ARROW1|\xff\xff\xff\xff", "an Arrow file", "give its rows as JSON Lines (datasets: to_json)"),
    (rb"SQLite format 3\0", "an SQLite database", "give a file of prompts"),
    (rb"%PDF-", "a PDF file", "give a file of prompts"),
    (rb"\x80[\x02-\x05]", "a Python pickle, which spectui does not load", "give JSON Lines"),
    (rb"GGUF|\x93NUMPY|\x89HDF|\x89PNG|\x7fELF", "a binary file of another kind", "give a file of prompts"),
    (rb"version https://git-lfs", "a pointer of git-lfs, not the file itself", "fetch the file: git lfs pull"),
    (rb"\s*(?i:<!doctype|<html|<\?xml)", "a web page or XML", "give the file itself (of a repository: the raw one)"),
)  # fmt: skip
"""First bytes, as a pattern -> what such a file is, what to do about it."""
_OTHERS = [(re.compile(pattern, re.DOTALL), kind, advice) for pattern, kind, advice in OTHERS]


def _refuse_other_kinds(head: bytes) -> None:
    for pattern, kind, advice in _OTHERS:
        if pattern.match(head.removeprefix(codecs.BOM_UTF8)):
            raise BadFile(f"this is {kind}; {advice}")


def _explain_nul(head: bytes) -> str:
    for odd in (0, 1):
        half, other = head[odd:200:2], head[1 - odd : 200 : 2]
        if len(half) > 1 and not half.strip(b"\0") and b"\0" not in other:
            return "this looks like UTF-16 without a byte order mark; save it as UTF-8"
    return "not text: it holds NUL bytes; give JSON Lines, JSON, CSV or plain text"
