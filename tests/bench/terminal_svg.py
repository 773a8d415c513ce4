"""Draws what a Textual app shows as SVG: one moment, or several as an animation that needs no script.

Lines, blocks and dots are drawn, not spelled, so that a picture looks the same whatever fonts a reader has. An
animation holds each span of text once, for all the moments that show it, and a style sheet turns it on and off.
Readers who asked for less motion, and programs that do not animate, get the last moment.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby
from typing import Any, NamedTuple

from rich.cells import cell_len
from rich.color import Color, blend_rgb
from rich.color_triplet import ColorTriplet
from rich.style import Style
from textual.app import App

WIDTH, HEIGHT = 10, 21
"""Of a cell. A font's glyphs are 0.6 of its size wide."""
FONT_SIZE = WIDTH / 0.6
BASELINE = 15.5
MARGIN, TITLE_BAR = 14, 38
FONTS = "'Fira Code','JetBrains Mono',ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace"
DIM = 0.6
"""The part of a dim colour that is left on its background."""

FLAT = {"─": "1.3", "━": "2.6", "┈": "1.3;stroke-dasharray:1.5 2"}
"""Lines that go on from cell to cell, with the width of their stroke."""
LINES = {
    "│": "ns", "┌": "es", "┐": "ws", "└": "ne", "┘": "nw", "├": "nes", "┤": "nws", "┬": "wes",
    "┴": "wen", "┼": "wens", "╭": "rES", "╮": "rWS", "╰": "rNE", "╯": "rNW",
}  # fmt: skip
"""Box drawing: which edges of the cell are joined to its middle; `r` rounds the corner."""
SIDES = {"n": (0, -1), "e": (1, 0), "s": (0, 1), "w": (-1, 0)}


class Look(NamedTuple):
    """The style of a span of cells, its background aside."""

    color: str
    bold: bool
    italic: bool
    underline: bool
    strike: bool


class Span(NamedTuple):
    """Cells of one row in one style."""

    x: int
    y: int
    text: str
    look: Look
    background: str


@dataclass(frozen=True)
class Moment:
    """A screen as it was at one moment."""

    columns: int
    rows: int
    background: str
    foreground: str
    spans: tuple[Span, ...]


def look_at(app: App[Any]) -> Moment:
    """The screen of a running app, now."""
    columns, rows = app.size
    background = _triplet(app.screen.background_colors[1].rich_color)
    foreground = _triplet(app.screen.styles.color.rich_color)
    spans = []
    for y, strip in enumerate(app.screen._compositor.render_strips()):
        x = 0
        for text, style, control in strip:
            if not control and text:
                spans.append(_span(x, y, text, style or Style.null(), background, foreground))
                x += cell_len(text)
    return Moment(columns, rows, background.hex, foreground.hex, tuple(spans))


def _span(x: int, y: int, text: str, style: Style, screen: ColorTriplet, ink: ColorTriplet) -> Span:
    color = ink if style.color is None or style.color.is_default else _triplet(style.color)
    behind = screen if style.bgcolor is None or style.bgcolor.is_default else _triplet(style.bgcolor)
    if style.reverse:
        color, behind = behind, color
    if style.dim:
        color = blend_rgb(behind, color, DIM)
    look = Look(color.hex, bool(style.bold), bool(style.italic), bool(style.underline), bool(style.strike))
    return Span(x, y, text, look, behind.hex)


def _triplet(color: Color) -> ColorTriplet:
    return color.get_truecolor()


class _Part(NamedTuple):
    """Something drawn: shapes of one layer and class are joined into one path, texts stand for themselves."""

    layer: int
    kind: str
    """Class of a path, or of a text."""
    drawing: str


class _Sheet:
    """The style sheet's classes, named in the order in which they are first used."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def name(self, rule: str) -> str:
        return self._names.setdefault(rule, f"c{len(self._names)}")

    def rules(self) -> str:
        return "".join(f".{name}{{{rule}}}" for rule, name in self._names.items())


def _parts(moment: Moment, sheet: _Sheet) -> list[_Part]:
    parts = []
    for x, y, text, look, background in moment.spans:
        if background != moment.background:
            box = _rectangle(x * WIDTH, y * HEIGHT, cell_len(text) * WIDTH, HEIGHT)
            parts.append(_Part(0, sheet.name(f"fill:{background}"), box))
        parts += _characters(x, y, text, look, sheet)
    return parts


def _characters(x: int, y: int, text: str, look: Look, sheet: _Sheet) -> list[_Part]:
    parts: list[_Part] = []
    fill, stroke = sheet.name(f"fill:{look.color}"), f"fill:none;stroke:{look.color};stroke-width:"
    word, begun = "", x

    def put() -> None:
        nonlocal word
        if word.strip():
            parts.append(_text(begun + len(word) - len(word.lstrip()), y, word.strip(), look, sheet))
        word = ""

    for character, repeated in groupby(text):
        count = len(list(repeated))
        left, top = x * WIDTH, y * HEIGHT
        if _spelled(character):
            for _ in range(count):
                # Two blanks part a text: what stands on, changes for itself.
                if word.endswith(" ") and character == " ":
                    put()
                if not word:
                    begun = x
                word += character
                x += 1
            continue
        put()
        if character in FLAT:
            parts.append(_Part(2, sheet.name(stroke + FLAT[character]), _stroke(left, top, count)))
        elif character == "█":
            parts.append(_Part(1, fill, _rectangle(left, top, count * WIDTH, HEIGHT)))
        else:
            for number in range(count):
                place = left + number * cell_len(character) * WIDTH
                if character in LINES:
                    parts.append(_Part(2, sheet.name(stroke + "1.3"), _line(place, top, LINES[character])))
                elif "▀" <= character <= "▟":
                    parts.append(_Part(1, fill, _block(place, top, character)))
                elif "\u2801" <= character <= "\u28ff":
                    parts.append(_Part(1, fill, _dots(place, top, ord(character) - 0x2800)))
                else:
                    parts.append(_text(place // WIDTH, y, character, look, sheet))
        x += count * cell_len(character)
    put()
    return parts


def _text(x: int, y: int, text: str, look: Look, sheet: _Sheet) -> _Part:
    rule = f"fill:{look.color}"
    if look.bold:
        rule += ";font-weight:bold"
    if look.italic:
        rule += ";font-style:italic"
    lines = ("underline " if look.underline else "") + ("line-through" if look.strike else "")
    if lines:
        rule += f";text-decoration:{lines.strip()}"
    width = cell_len(text) * WIDTH
    place = f'x="{x * WIDTH}" y="{y * HEIGHT + BASELINE:g}" textLength="{width}"'
    return _Part(3, sheet.name(rule), f"{place}>{escape(text, quote=False)}<")


def _rectangle(x: float, y: float, width: float, height: float) -> str:
    return f"M{x:g} {y:g}h{width:g}v{height:g}h-{width:g}z"


def _spelled(character: str) -> bool:
    """True of letters and signs that every font has, in a width of one cell."""
    return character.isascii() or (character.isalpha() and cell_len(character) == 1)


def _stroke(left: int, top: int, cells: int) -> str:
    return f"M{left} {top + HEIGHT / 2:g}h{cells * WIDTH}"


def _line(left: int, top: int, edges: str) -> str:
    if edges == "ns":
        return f"M{left + WIDTH / 2:g} {top}v{HEIGHT}"
    middle, half = (left + WIDTH / 2, top + HEIGHT / 2), (WIDTH / 2, HEIGHT / 2)
    ends = [
        tuple(m + side * h for m, side, h in zip(middle, SIDES[edge.lower()], half, strict=True))
        for edge in edges.removeprefix("r")
    ]
    center = f"{middle[0]:g} {middle[1]:g}"
    if edges.startswith("r"):
        (x, y), (to_x, to_y) = ends
        return f"M{x:g} {y:g}Q{center} {to_x:g} {to_y:g}"
    return "".join(f"M{x:g} {y:g}L{center}" for x, y in ends)


def _block(left: int, top: int, character: str) -> str:
    code = ord(character) - 0x2580
    if code == 0:
        return _rectangle(left, top, WIDTH, HEIGHT / 2)
    if code <= 8:
        height = HEIGHT * code / 8
        return _rectangle(left, top + HEIGHT - height, WIDTH, height)
    if code <= 0xF:
        return _rectangle(left, top, WIDTH * (16 - code) / 8, HEIGHT)
    if code == 0x10:
        return _rectangle(left + WIDTH / 2, top, WIDTH / 2, HEIGHT)
    raise ValueError(f"{character} is not drawn yet")


def _dots(left: int, top: int, bits: int) -> str:
    drawn = ""
    for bit, (column, row) in enumerate(((0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (0, 3), (1, 3))):
        if bits >> bit & 1:
            drawn += _rectangle(left + 1.5 + 5 * column, top + 1.6 + HEIGHT / 4 * row, 2, 2)
    return drawn


def svg(moments: Sequence[tuple[Moment, float]], title: str = "spectui") -> str:
    """The picture of moments, each with the seconds for which it stands."""
    sheet = _Sheet()
    shown: dict[_Part, int] = defaultdict(int)
    for number, (moment, _) in enumerate(moments):
        for part in _parts(moment, sheet):
            shown[part] |= 1 << number
    groups: dict[int, list[_Part]] = defaultdict(list)
    for part, when in shown.items():
        groups[when].append(part)
    always, last = (1 << len(moments)) - 1, 1 << len(moments) - 1
    names = {when: f"a{number}" for number, when in enumerate(groups) if when != always}
    body = []
    for layer in range(4):
        for when, parts in groups.items():
            drawn = _drawn([part for part in parts if part.layer == layer])
            if not drawn:
                continue
            if when == always:
                body.append(drawn)
            else:
                body.append(f'<g class="{names[when]}{"" if when & last else " off"}">{drawn}</g>')
    seconds = [each for _, each in moments]
    frames = [_keyframes(name, when, seconds) for when, name in names.items()]
    first = moments[0][0]
    width, height = first.columns * WIDTH + 2 * MARGIN, first.rows * HEIGHT + TITLE_BAR + MARGIN
    animation = f"g{{animation:{sum(seconds):g}s step-end infinite}}" if frames else ""
    calm = "@media(prefers-reduced-motion:reduce){g{animation:none!important}}" if frames else ""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">'
        f"<title>{escape(title)}</title><style>"
        f"text{{font:{FONT_SIZE:.4g}px {FONTS};white-space:pre}}.off{{visibility:hidden}}"
        f"{animation}{sheet.rules()}{''.join(frames)}{calm}</style>"
        f'<rect width="{width}" height="{height}" rx="10" fill="{first.background}"/>'
        f'<rect x=".5" y=".5" width="{width - 1}" height="{height - 1}" rx="10" fill="none" stroke="#888" '
        f'stroke-opacity=".45"/><g fill="#888" fill-opacity=".55"><circle cx="22" cy="19" r="6"/>'
        f'<circle cx="42" cy="19" r="6"/><circle cx="62" cy="19" r="6"/></g>'
        f'<text x="{width / 2:g}" y="24" text-anchor="middle" fill="{first.foreground}" '
        f'fill-opacity=".7">{escape(title)}</text>'
        f'<g transform="translate({MARGIN} {TITLE_BAR})">{"".join(body)}</g></svg>\n'
    )


def _drawn(parts: Sequence[_Part]) -> str:
    paths: dict[tuple[int, str], list[str]] = defaultdict(list)
    texts = []
    for part in parts:
        if part.layer == 3:
            texts.append(f'<text class="{part.kind}" {part.drawing}/text>')
        else:
            paths[part.layer, part.kind].append(part.drawing)
    sharp = {0: ' shape-rendering="crispEdges"', 1: ' shape-rendering="crispEdges"'}
    return "".join(
        f'<path class="{kind}"{sharp.get(layer, "")} d="{"".join(each)}"/>'
        for (layer, kind), each in paths.items()
    ) + "".join(texts)


def _keyframes(name: str, when: int, seconds: Sequence[float]) -> str:
    """Turns a group on and off: `when` has a bit for each moment that shows it."""
    steps, passed, before = [], 0.0, None
    for number, each in enumerate(seconds):
        on = bool(when >> number & 1)
        if on != before:
            share = f"{100 * passed / sum(seconds):.4g}%"
            steps.append(f"{share}{{visibility:{'visible' if on else 'hidden'}}}")
            before = on
        passed += each
    return f".{name}{{animation-name:{name}}}@keyframes {name}{{{''.join(steps)}}}"
