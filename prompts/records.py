"""The records of a prompt file of any kind: JSON Lines, JSON, a table with a header, or a prompt a line."""

from __future__ import annotations

import codecs
import csv
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from spectui.prompts.chat import is_message
from spectui.prompts.lines import quoted
from spectui.prompts.shapes import PROMPT_KEYS, plain_key
from spectui.prompts.source import MAX_ITEM, US, BadFile, Source

ONE_A_LINE = f"give one a line, as: jq -c '.[]' FILE | {US}"
PLAIN = "plain text: each line is a prompt"


@dataclass(frozen=True)
class Record:
    """One item that may be a prompt."""

    line: int
    value: Any = None
    item: int | None = None
    """Its place in a list, from 1."""
    error: str | None = None
    """The reason that there is no `value`."""


@dataclass(frozen=True)
class Layout:
    """The layout of a file: how its records are written."""

    kind: str
    """``lines`` of JSON, ``list`` or ``values`` (JSON over several lines), ``table`` or ``plain``."""
    delimiter: str = ""
    """The delimiter of a table's columns."""


def layout_of(head: bytes) -> Layout:
    """The layout of a file that begins with `head`. Raises `BadFile` for text that is none of it."""
    lines = [line.strip() for line in head.split(b"\n") if line.strip()]
    if not lines:
        return Layout("lines")
    first = lines[0]
    if first.startswith((b"[", b"{")):
        return _json_layout(lines)
    if b'{"' in head and any(line.lstrip(_BEFORE).startswith((b'{"', b'{ "', b'[{"')) for line in lines):
        return Layout("lines")  # its first line is at fault
    text = first.decode("utf-8", "replace")
    for delimiter in _DELIMITERS:
        header = _cells(text, delimiter)
        if header and any(plain_key(cell) in PROMPT_KEYS for cell in header):
            return Layout("table", delimiter)
    if first.startswith(b'"') and isinstance(_whole(first), str):
        return Layout("lines")
    _refuse_tables_and_yaml(lines)
    return Layout("plain")


def records(source: Source, layout: Layout) -> Iterator[Record]:
    """The records of a file, in its order. Raises `BadFile` where it cannot be read on."""
    match layout.kind:
        case "lines":
            yield from _lines(source)
        case "list" | "values":
            yield from _values(source, in_list=layout.kind == "list")
        case "table":
            yield from _rows(source, layout.delimiter)
        case _:
            yield from _plain(source)


_DELIMITERS = (",", "\t", ";", "|")
_BEFORE = b"\xef\xbb\xbf\x1e"
"""Marks that may stand before a line of JSON: that of a file that was put behind another, the separator of RFC 7464."""
_WORD = re.compile(r"[\w.()/#-]+(?: [\w.()/#-]+){0,3}")


def _json_layout(lines: Sequence[bytes]) -> Layout:
    first = lines[0]
    whole = _whole(first) is not None
    if first.startswith(b"{"):
        # Over several lines an object goes on with a key or its end; lines of their own begin anew.
        goes_on = len(lines) > 1 and lines[1].startswith((b'"', b"}"))
        return Layout("values" if goes_on and not whole else "lines")
    if whole and len(lines) > 1:
        return Layout("lines")
    rest = (first[1:] + b" ".join(lines[1:2])).lstrip()
    return Layout("list" if not rest or rest[:1] in b'{["]tfn-0123456789' else "plain")


def _whole(line: bytes) -> Any:
    """The JSON value of a line; None where it is none, or null."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _cells(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return []


def _refuse_tables_and_yaml(lines: Sequence[bytes]) -> None:
    some = [line.decode("utf-8", "replace") for line in lines[:6]]
    goes_on = len(some) > 1 and some[1].startswith("-")
    if re.match(r"---$|%YAML|- ?\w+:( |$)", some[0]) or (goes_on and re.match(r"\w+:$", some[0])):
        raise BadFile("this looks like YAML; give JSON Lines, JSON, CSV or plain text", 1)
    for delimiter in _DELIMITERS:
        rows = [_cells(line, delimiter) for line in some]
        width = len(rows[0])
        even = width > 1 and len(rows) > 2 and all(len(row) == width for row in rows[:-1])
        if even and all(_WORD.fullmatch(cell) for cell in rows[0]):
            names = ", ".join(cell[:40] for cell in rows[0][:5])
            raise BadFile(f"a table, and no column is known to hold prompts ({names}); call it 'prompt'", 1)


def _decoded(line: bytes) -> str:
    """The line as text. Raises `ValueError` with the reason."""
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 (byte {error.start + 1} of the line); save the file as UTF-8") from None


def _lines(source: Source) -> Iterator[Record]:
    for number, line in source.lines():
        if not line.strip():
            continue
        try:
            yield Record(number, _parsed(_decoded(line.lstrip(_BEFORE))))
        except ValueError as error:
            yield Record(number, error=str(error))


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        if text[error.pos :].strip() == ",":
            raise ValueError("not JSON: a comma follows it; take it out, or give one list [...]") from None
        raise ValueError(f"not JSON: {error.msg} at column {error.colno}") from None
    except (RecursionError, ValueError):  # nested too deep, or a number too long to convert
        raise ValueError(DEEP) from None


DEEP = "not JSON that spectui reads: nested too deeply, or a number too long"


class _Text:
    """The text of a source, read on as it is needed, and the line that is reached in it."""

    def __init__(self, source: Source) -> None:
        self._chunks = source.chunks()
        self._decode = codecs.getincrementaldecoder("utf-8")().decode
        self.text = ""
        self.at = 0
        self.line = 1
        self.ended = False

    def more(self) -> bool:
        """Read as much again as is held; False at the end."""
        parts, size = [self.text], 0
        while not self.ended and size <= len(self.text) - self.at:
            chunk = next(self._chunks, b"")
            self.ended = not chunk
            try:
                parts.append(self._decode(chunk, self.ended))
            except UnicodeDecodeError:
                line = self.line + self.text.count("\n", self.at) + chunk.count(b"\n")
                raise BadFile("not UTF-8; save the file as UTF-8", line) from None
            size += len(chunk)
        self.text = "".join(parts)
        return size > 0

    def move(self, to: int) -> None:
        """Go on at `to`, and drop what lies before."""
        self.line += self.text.count("\n", self.at, to)
        self.at = to
        if self.at > 1 << 16 and self.at > len(self.text) // 2:
            self.text, self.at = self.text[self.at :], 0

    def peek(self) -> str:
        """The next character that is no blank; "" at the end."""
        while True:
            match = _BLANK.match(self.text, self.at)
            assert match
            self.move(match.end())
            if self.at < len(self.text) or not self.more():
                return self.text[self.at : self.at + 1]


_BLANK = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()


def _value(text: _Text) -> tuple[Any, int]:
    """The next JSON value, and its length. Raises `BadFile`."""
    while True:
        try:
            value, end = _DECODER.raw_decode(text.text, text.at)
        except json.JSONDecodeError as error:
            if len(text.text) - text.at > MAX_ITEM:
                raise BadFile(
                    f"this item is longer than {MAX_ITEM >> 20} MiB, or not JSON; {ONE_A_LINE}", text.line
                ) from None
            if not text.more():
                line = text.line + text.text.count("\n", text.at, error.pos)
                raise BadFile(f"not JSON: {error.msg}", line) from None
        except (RecursionError, ValueError):
            raise BadFile(DEEP, text.line) from None
        else:
            if end < len(text.text) or not text.more():  # a number may go on
                length = end - text.at
                text.move(end)
                return value, length


def _values(source: Source, *, in_list: bool) -> Iterator[Record]:
    text = _Text(source)
    first = text.peek()
    item, turns, size = 0, list[Any](), 0
    begun = text.line
    if in_list:
        text.move(text.at + len(first))
    while following := text.peek():
        if in_list and following == "]":
            text.move(text.at + 1)
            break
        if in_list and item and following == ",":
            text.move(text.at + 1)
            text.peek()
        elif in_list and item:
            raise BadFile("not JSON: a comma or ] is missing in the list", text.line)
        item += 1
        line = text.line
        value, length = _value(text)
        if in_list and is_message(value) and (item == 1 or turns):
            # A list of messages is one conversation.
            turns.append(value)
            size += length
            if size > MAX_ITEM:
                raise BadFile(f"this conversation is longer than {MAX_ITEM >> 20} MiB", line)
        elif turns:
            raise BadFile("a list of messages holds something else here", line)
        else:
            yield Record(line, value, item if in_list else None)
    else:
        if in_list:
            raise BadFile("not JSON: the list has no end", text.line)
    if turns:
        yield Record(begun, turns)
    if text.peek():
        raise BadFile(
            "not JSON: something comes after its end; give one list, or one object a line", text.line
        )


def _rows(source: Source, delimiter: str) -> Iterator[Record]:
    reached = held = 0

    def texts() -> Iterator[str]:
        nonlocal reached, held
        for reached, line in source.lines():
            held += len(line)
            if held > MAX_ITEM:
                raise BadFile(f"this row is longer than {MAX_ITEM >> 20} MiB; is a quote missing?", reached)
            try:
                yield _decoded(line) + "\n"
            except ValueError as error:
                raise BadFile(str(error), reached) from None

    csv.field_size_limit(MAX_ITEM)
    rows = csv.reader(texts(), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    begun = 1
    while True:
        try:
            row = next(rows, None)
        except csv.Error as error:
            raise BadFile(
                f"not a table as its first line says: {error}; is a quote missing?", begun
            ) from None
        if row is None:
            return
        line, begun, held = begun, reached + 1, 0
        if not any(cell.strip() for cell in row):
            continue
        if header is None:
            header = [plain_key(cell) for cell in row]
            twice = next((name for name in header if name and header.count(name) > 1), None)
            if twice:
                raise BadFile(f"two columns are called {quoted(twice)}; rename one", line)
        elif len(row) > len(header):
            yield Record(line, error=f"{len(row)} columns, but the first line names {len(header)}")
        else:
            cells = zip(header, row, strict=False)
            yield Record(line, {n: cell for n, cell in cells if n and (cell.strip() or n in PROMPT_KEYS)})


def _plain(source: Source) -> Iterator[Record]:
    for number, line in source.lines():
        if not line.strip():
            continue
        try:
            yield Record(number, _decoded(line).rstrip("\r"))
        except ValueError as error:
            yield Record(number, error=str(error))
