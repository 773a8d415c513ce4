"""The characters that charts, tables and signs are drawn with: Unicode's blocks, or ASCII alone.

Chosen once per process, before the first screen is drawn: `choose(ascii=True)`. Everything else asks
`glyphs()` when it draws and never names a block character itself, so that this page is all there is to
change for a terminal without them. Every glyph is one cell wide in both sets.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Glyphs:
    """One set. Parts of a cell are strings indexed by eighths, from nothing (0) to all of it (8)."""

    ascii: bool
    across: str
    """A bar that grows to the right."""
    up: str
    """A bar that grows upwards."""
    dots: str
    """Points of overlaid lines, one for each line in turn: told apart without colour."""
    trail: str
    """Lines between points: a cell of two by four dots, none of them set yet (see `dotted`); in ASCII a mark."""
    rule: str
    """A level to compare with, such as a mean."""
    axis: str
    """The vertical axis."""
    tick: str
    """The vertical axis where a value is written."""
    floor: str
    """The horizontal axis."""
    corner: str
    """The corner in which both axes meet."""
    under: str
    """The horizontal axis where a value is written."""
    reference: str
    """A value that was not measured here."""
    pointer: str
    """The column that is read, on the horizontal axis."""
    ellipsis: str
    """Text was cut here."""
    nothing: str
    """Stands where a number is not known."""


BLOCKS = Glyphs(
    ascii=False,
    across=" ▏▎▍▌▋▊▉█",
    up=" ▁▂▃▄▅▆▇█",
    dots="●◆▲■",
    trail="\N{BRAILLE PATTERN BLANK}",
    rule="┈",
    axis="│",
    tick="┤",
    floor="─",
    corner="└",
    under="┬",
    reference="◇",
    pointer="▲",
    ellipsis="…",
    nothing="–",
)
ASCII = Glyphs(
    ascii=True,
    across=" ....====",
    up=" ._-:=+*#",
    dots="o*x+",
    trail=".",
    rule=".",
    axis="|",
    tick="+",
    floor="-",
    corner="+",
    under="+",
    reference="v",
    pointer="^",
    ellipsis="~",
    nothing="-",
)

_chosen = BLOCKS


def glyphs() -> Glyphs:
    """The set of this process."""
    return _chosen


def choose(*, ascii: bool) -> None:
    """Draw with ASCII alone from now on, or with blocks."""
    global _chosen
    _chosen = ASCII if ascii else BLOCKS


DOTS = (2, 4)
"""Dots across and down in a cell of `Glyphs.trail`."""

_BITS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
"""Of Unicode's braille patterns, by column and row."""


def dotted(cell: str, x: int, y: int) -> str:
    """`cell`, a `Glyphs.trail`, with its dot `x` from the left and `y` from the top set."""
    return chr(ord(cell) | _BITS[x][y])
