"""The text of one generation, wrapped to a width: an append-only columnar store, no widgets.

Characters live in one `io.StringIO` (four bytes each), spans in parallel arrays, wrapped lines as
the offset at which each starts. A million tokens cost some tens of megabytes; appending costs the
open line, drawing costs the lines drawn.
"""

from __future__ import annotations

import io
from array import array
from bisect import bisect_right
from collections.abc import Iterable

from rich.cells import get_character_cell_size

KINDS = ("accepted", "target", "rejected", "note", "error")
"""Kinds of span; a span is stored as an index into this."""


class Transcript:
    """Spans of sanitized text and the lines they wrap to.

    Line breaks are at spaces where a line has one, else at the last character that fits; widths are
    terminal cells, so that wide characters and combining marks stay whole.
    """

    def __init__(self, width: int = 80) -> None:
        self.width = max(width, 2)
        self._text = io.StringIO()
        self._length = 0
        self._ends = array("Q")
        self._kinds = bytearray()
        self._rounds = array("L")
        self._starts = array("Q", [0])

    @property
    def length(self) -> int:
        """Characters stored."""
        return self._length

    @property
    def line_count(self) -> int:
        """Wrapped lines; 0 while there is no text."""
        return len(self._starts) if self._length else 0

    def append(self, kind: str, text: str, number: int) -> int:
        """Add a span of round `number`; returns the first line whose content changed."""
        if not text:
            return max(len(self._starts) - 1, 0)
        self._text.seek(0, io.SEEK_END)
        self._text.write(text)
        self._length += len(text)
        self._ends.append(self._length)
        self._kinds.append(KINDS.index(kind))
        self._rounds.append(number)
        first = len(self._starts) - 1
        self._wrap_from(first)
        return first

    def extend(self, spans: Iterable[tuple[str, str, int]]) -> None:
        """Add many spans, wrapping once."""
        first = len(self._starts) - 1
        self._text.seek(0, io.SEEK_END)
        for kind, text, number in spans:
            if text:
                self._text.write(text)
                self._length += len(text)
                self._ends.append(self._length)
                self._kinds.append(KINDS.index(kind))
                self._rounds.append(number)
        self._wrap_from(first)

    def cut(self, number: int) -> int:
        """Drop what comes after round `number`, and remarks after the text; returns the first line that changed.

        A remark at the very start stays.
        """
        kept = len(self._ends)
        remarks = (KINDS.index("note"), KINDS.index("error"))
        while kept and (self._rounds[kept - 1] > number or (kept > 1 and self._kinds[kept - 1] in remarks)):
            kept -= 1
        if kept == len(self._ends):
            return self.line_count
        del self._ends[kept:], self._kinds[kept:], self._rounds[kept:]
        self._length = self._ends[-1] if self._ends else 0
        self._text.seek(self._length)
        self._text.truncate()
        # The line before may have been broken for the sake of what is gone.
        line = max(bisect_right(self._starts, self._length) - 2, 0)
        self._wrap_from(line)
        return line

    def resize(self, width: int) -> bool:
        """Wrap to another width; False when it is the same."""
        width = max(width, 2)
        if width == self.width:
            return False
        self.width = width
        self._wrap_from(0)
        return True

    def line(self, y: int) -> list[tuple[str, str, int]]:
        """The spans of line `y` as ``(kind, text, round)``, without its newline."""
        if not 0 <= y < self.line_count:
            return []
        start = self._starts[y]
        end = self._starts[y + 1] if y + 1 < len(self._starts) else self._length
        out: list[tuple[str, str, int]] = []
        index = bisect_right(self._ends, start)
        while start < end:
            stop = min(self._ends[index], end)
            text = self._read(start, stop - start).removesuffix("\n")
            if text:
                out.append((KINDS[self._kinds[index]], text, self._rounds[index]))
            start = stop
            index += 1
        return out

    def text_of(self, *kinds: str) -> str:
        """All text of these kinds, as it was before it was wrapped."""
        wanted = {KINDS.index(kind) for kind in kinds}
        starts = (0, *self._ends)
        spans = zip(starts, self._ends, self._kinds, strict=False)
        return "".join(self._read(start, end - start) for start, end, kind in spans if kind in wanted)

    def round_at(self, y: int) -> int:
        """The round that wrote the start of line `y`; 0 before any."""
        if not self._ends or y < 0:
            return 0
        start = self._starts[min(y, len(self._starts) - 1)]
        return self._rounds[min(bisect_right(self._ends, start), len(self._ends) - 1)]

    def line_of_round(self, number: int) -> int:
        """The line on which the text of round `number` (or the next that has some) starts."""
        index = bisect_right(self._rounds, number - 1)
        if index >= len(self._ends):
            return max(self.line_count - 1, 0)
        start = self._ends[index - 1] if index else 0
        return max(bisect_right(self._starts, start) - 1, 0)

    def _read(self, start: int, length: int) -> str:
        self._text.seek(start)
        return self._text.read(length)

    def _wrap_from(self, line: int) -> None:
        """Wrap again from the start of `line` (its text may have grown) to the end."""
        position = self._starts[line]
        del self._starts[line + 1 :]
        starts = self._starts
        text = self._read(position, self._length - position)
        start = 0
        while start < len(text):
            newline = text.find("\n", start)
            end = len(text) if newline < 0 else newline
            paragraph = text[start:end]
            for offset in _breaks(paragraph, self.width):
                starts.append(position + start + offset)
            if newline < 0:
                return
            start = newline + 1
            starts.append(position + start)


def wrap(text: str, width: int) -> list[str]:
    """Sanitized text as lines of at most `width` cells."""
    lines = Transcript(width)
    lines.append("note", text, 0)
    return ["".join(part for _, part, _ in lines.line(y)) for y in range(lines.line_count)]


def _breaks(paragraph: str, width: int) -> list[int]:
    """Offsets at which the lines after the first start."""
    if paragraph.isascii():
        if len(paragraph) <= width:
            return []
        return _ascii_breaks(paragraph, width)
    return _cell_breaks(paragraph, width)


def _ascii_breaks(paragraph: str, width: int) -> list[int]:
    """`_cell_breaks` at the cost of one search a line."""
    out: list[int] = []
    start = 0
    while len(paragraph) - start > width:
        space = paragraph.rfind(" ", start, start + width)
        # A space that only ends the indentation would leave an empty line.
        start = space + 1 if paragraph[start : max(space, start)].strip(" ") else start + width
        out.append(start)
    return out


def _cell_breaks(paragraph: str, width: int) -> list[int]:
    out: list[int] = []
    start = cells = cells_after_space = 0
    after_space = -1
    seen_word = False
    for index, character in enumerate(paragraph):
        size = get_character_cell_size(character)
        # Twice where what follows the space leaves no room for this one either.
        while cells + size > width and index > start:
            if after_space > start:
                start, cells = after_space, cells_after_space
            else:
                start, cells = index, 0
            out.append(start)
            after_space, seen_word = -1, index > start
        cells += size
        cells_after_space += size
        if character != " ":
            seen_word = True
        elif seen_word:
            after_space, cells_after_space = index + 1, 0
    return out
