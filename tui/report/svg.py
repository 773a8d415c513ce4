"""Pieces that charts are drawn with, and the document around them. Colours are names of the style sheet."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from spectui.tui.terminal.textsafe import sanitize_line
from spectui.tui.terminal.theme import PALETTES, Palette

_NO_CHARACTERS = re.compile("[\ufffe\uffff]")
"""Characters that XML does not allow and `sanitize_line` leaves."""


def clean(text: str) -> str:
    """Text of models, users and files, fit to stand in a page: no markup, no control characters."""
    return escape(_NO_CHARACTERS.sub("\ufffd", sanitize_line(text)), {'"': "&quot;", "'": "&#39;"})


def style() -> str:
    """The style sheet of charts: light, and dark where the reader's system is."""
    light, dark = (next(p for p in PALETTES if p.name == name) for name in ("light", "dark"))
    return (
        f":root {{ color-scheme: light dark; {_variables(light)} }}\n"
        f"@media (prefers-color-scheme: dark) {{ :root {{ {_variables(dark)} }} }}\n"
        "svg { font: 12px system-ui, sans-serif; fill: var(--text); }\n"
        "svg .muted { fill: var(--muted); } svg .title { font-weight: 600; font-size: 14px; }\n"
        "svg .grid { stroke: var(--faint); stroke-width: 1; opacity: .55; }\n"
        "svg .published { fill: none; stroke: var(--text); stroke-width: 1.5; }\n"
    )


def _variables(palette: Palette) -> str:
    named = {
        "background": palette.background,
        "text": palette.foreground,
        "muted": palette.muted,
        "faint": palette.faint,
        "accent": palette.accent,
    }
    named |= {f"task-{slot}": colour for slot, colour in enumerate(palette.tasks)}
    return " ".join(f"--{name}: {colour};" for name, colour in named.items())


@dataclass(frozen=True)
class Drawing:
    """Drawn elements on a rectangle of that size, in pixels, and what it shows for those who cannot see it."""

    title: str
    width: float
    height: float
    body: str

    def standalone(self) -> str:
        """An SVG element for a page that has the style sheet."""
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width:g} {self.height:g}"'
            f' width="{self.width:g}" role="img" aria-label="{clean(self.title)}">{self.body}</svg>'
        )


def document(charts: Sequence[Drawing], heading: Sequence[str]) -> str:
    """One SVG file: lines of text, then the charts one below the other."""
    margin, gap, line = 20.0, 16.0, 18.0
    folded = [part for sentence in heading for part in textwrap.wrap(sentence, 130)]
    y = margin + line * len(folded)
    parts = [text(margin, margin + line * i + 4, sentence, cut=130) for i, sentence in enumerate(folded)]
    for chart in charts:
        parts.append(f'<g transform="translate({margin} {y + gap:g})">{chart.body}</g>')
        y += gap + chart.height
    width = 2 * margin + max((chart.width for chart in charts), default=600)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {y + margin:g}" width="{width:g}">'
        f"<style>{style()}</style>"
        f'<rect width="100%" height="100%" style="fill: var(--background)"/>{"".join(parts)}</svg>\n'
    )


def text(
    x: float,
    y: float,
    content: str,
    *,
    kind: str = "",
    anchor: str = "start",
    cut: int = 60,
    colour: str = "",
) -> str:
    """A line of text whose baseline is at y; longer than `cut` letters it ends in dots."""
    shown = content if len(content) <= cut else f"{content[: cut - 1]}…"
    attributes = f' class="{kind}"' if kind else ""
    attributes += f' style="fill: var(--{colour})"' if colour else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{attributes}>{clean(shown)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, *, colour: str = "", dashed: bool = False) -> str:
    """A line, in the colour of that name or as a line of the grid."""
    look = f'style="stroke: var(--{colour}); stroke-width: 2"' if colour else 'class="grid"'
    dashes = ' stroke-dasharray="4 3"' if dashed else ""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" {look}{dashes}/>'


def dot(x: float, y: float, colour: str, tip: str = "") -> str:
    """A mark, with a text that shows when one points at it."""
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" style="fill: var(--{colour})">{_tip(tip)}</circle>'


def diamond(x: float, y: float, tip: str) -> str:
    """The mark of a published value."""
    return (
        f'<path class="published" d="M{x:.1f} {y - 6:.1f} l6 6 l-6 6 l-6 -6 z" pointer-events="all">'
        f"{_tip(tip)}</path>"
    )


def bar(x: float, y: float, width: float, height: float, colour: str, tip: str) -> str:
    """A horizontal bar."""
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 1):.1f}" height="{height:g}" rx="2"'
        f' style="fill: var(--{colour})">{_tip(tip)}</rect>'
    )


def _tip(words: str) -> str:
    return f"<title>{clean(words)}</title>" if words else ""


def scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    """Maps values to pixels from `start` to `end`; values outside go to the nearer end."""

    def place(value: float) -> float:
        share = (value - low) / (high - low)
        return start + (end - start) * min(max(share, 0.0), 1.0)

    return place


def ticks(high: float, most: int = 5) -> list[float]:
    """Round numbers from 0 on; the last is at or above `high`."""
    if high <= 0:
        return [0.0, 1.0]
    rough = high / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(s * power for s in (1, 2, 2.5, 5, 10) if s * power >= rough * (1 - 1e-9))
    return [round(step * i, 10) for i in range(math.ceil(high / step - 1e-9) + 1)]
