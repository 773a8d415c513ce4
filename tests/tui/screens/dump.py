"""A screen as text and styles: what a snapshot holds, and what checks of colours and characters read.

A tenth of a picture's size, and a difference reads as what changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from rich.cells import cell_len
from rich.color import Color
from rich.segment import Segment
from rich.style import Style
from textual._context import visible_screen_stack
from textual.app import App

Lines = list[list[Segment]]
"""Rows of a screen from the top, each as the segments that are drawn."""


def lines_of(app: App[Any]) -> Lines:
    """The lines on the screen of the app now."""
    visible_screen_stack.set(app._background_screens)
    strips = app.screen._compositor.render_strips()
    return [[segment for segment in strip if segment.text] for strip in strips]


def text_of(lines: Lines) -> list[str]:
    """The characters, without blanks at the ends."""
    return ["".join(segment.text for segment in line).rstrip() for line in lines]


def styles_of(lines: Lines) -> list[list[str]]:
    """The style of each cell in words: ``#c8d0da on #10141a bold``."""
    out = []
    for line in lines:
        row: list[str] = []
        for text, style, _ in line:
            row += [style_name(style)] * cell_len(text)
        out.append(row)
    return out


def style_name(style: Style | None) -> str:
    """A style in words, colours as they are sent to the terminal."""
    style = style or Style.null()
    attributes = ("bold", "dim", "italic", "underline", "strike", "reverse")
    words = [_colour(style.color), "on", _colour(style.bgcolor)]
    return " ".join([*words, *(name for name in attributes if getattr(style, name))])


def _colour(colour: Color | None) -> str:
    if colour is None or colour.is_default:
        return "default"
    return colour.triplet.hex if colour.triplet else colour.name


def letters(pictures: Sequence[list[list[str]]], known: dict[tuple[str, ...], str]) -> list[str]:
    """The styles of one screen in several themes as one map: a line ``a12 b3 a65`` for each row.

    A letter stands for one cell's styles in all of the themes; new ones are added to `known`.
    """
    out = []
    for rows in zip(*pictures, strict=True):
        cells = list(zip(*rows, strict=True))
        runs = [(key, sum(1 for _ in same)) for key, same in groupby(cells)]
        out.append(" ".join(f"{known.setdefault(key, _letter(len(known)))}{width}" for key, width in runs))
    return list(_folded(out))


def _letter(number: int) -> str:
    alphabet = "abcdefghijklmnopqrstuvwxyz"
    head, tail = divmod(number, 26)
    return (_letter(head - 1) if head else "") + alphabet[tail]


def _folded(rows: Iterable[str]) -> Iterator[str]:
    """Rows alike below each other, once: ``a80 (x7)``."""
    for row, same in groupby(rows):
        times = sum(1 for _ in same)
        yield row if times == 1 else f"{row} (x{times})"
