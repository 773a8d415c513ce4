"""For terminals that lack characters: everything that is drawn, borders too, in those that they have.

The last step before the terminal, so that no widget can forget it. A character becomes one of the
same width, so that nothing moves. `tui.terminal.glyphs` has charts drawn with ASCII in the first place.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from typing import Literal

from rich.cells import cell_len
from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

Characters = Literal["all", "console", "ascii"]
"""Characters that a terminal can show: any, those in fonts of the Linux console, or ASCII alone."""

CONSOLE = frozenset("─│┌┐└┘├┤┬┴┼█▀▄▌▐░▒▓←↑→↓·±°×÷")
"""Beside ASCII, what the kernel's own console font and those that Debian ships have in common, of what we use."""


def _pairs(text: str) -> dict[int, str]:
    """``"╭┌ ╮┐"``: what stands for what."""
    return {ord(pair[0]): pair[1:] for pair in text.split(" ")}


_TO_CONSOLE = _pairs("╭┌ ╮┐ ╰└ ╯┘ ━─ ┃│ ▏│ ▎▌ ▍▌ ▋▌ ▊█ ▉█ ▁▄ ▂▄ ▃▄ ▅▄ ▆█ ▇█")
"""The nearest that the console has."""
_BRAILLE = dict.fromkeys(range(0x2801, 0x2900), "·")
"""Parts of a chart's line."""
_TO_CONSOLE |= _BRAILLE

_TO_ASCII = _pairs(
    "─- ━= │| ┃| ┌+ ┐+ └+ ┘+ ├+ ┤+ ┬+ ┴+ ┼+ ╭+ ╮+ ╰+ ╯+ ╱/ ╲\\ ╳X ┈. ┄- ═= ║| "
    "█# ▉# ▊# ▋# ▌| ▍| ▎| ▏| ▐| ▀' ▄_ ▁_ ▂. ▃- ▅= ▆+ ▇* ░. ▒: ▓% "
    "■# □. ▪. ●o ○o ◌~ ◆* ◇* ▲^ △^ ▴^ ▼v ▽v ▾v ▶> ◀< ✓v ✔v ✗x ✘x ‖| »> «< ·. •* …~ –- —- ‘' ’' “\" ”\" "
    "←< →> ↑^ ↓v ⏎< ↵< ⌫< ±~ ×x ÷/ −- ≈~ ≤< ≥> ≠! °o ²2 "
    "αa βb λl μm νn ρr σs τt εe χx ΔD ⟨< ⟩> ␛? ␡? �?"
) | dict.fromkeys(_BRAILLE, ".")


@lru_cache(4096)
def plain(text: str, characters: Characters) -> str:
    """`text` in the characters that there are, as wide as before."""
    if characters == "console":
        text = text.translate(_TO_CONSOLE)
    known = CONSOLE if characters == "console" else frozenset[str]()
    return "".join(char if char.isascii() or char in known else _plain(char) for char in text)


def _plain(char: str) -> str:
    """One character in ASCII: the one that stands for it, its letter without the accent, or ``?``."""
    width = cell_len(char)
    for candidate in (char.translate(_TO_ASCII), unicodedata.normalize("NFKD", char)[:1]):
        if candidate.isascii() and candidate.isprintable() and len(candidate) == width:
            return candidate
    return "?" * width


def characters_of(ascii_asked: bool | None, environment: Mapping[str, str]) -> Characters:
    """The characters to draw with: as asked, else those that the terminal is known to have.

    The Linux console has a few hundred characters. tmux and screen draw what they are told is not UTF-8
    as marks of their own; elsewhere a locale that names another encoding is what the terminal reads.
    """
    if ascii_asked is not None:
        return "ascii" if ascii_asked else "all"
    if environment.get("TERM") == "linux":
        return "console"
    names = (environment.get(name, "") for name in ("LC_ALL", "LC_CTYPE", "LANG"))
    locale = next((name for name in names if name), "").lower().replace("-", "")
    if "utf8" in locale:
        return "all"
    within = environment.get("TMUX") or environment.get("STY")
    return "ascii" if within or locale not in ("", "c", "posix") else "all"


class PlainFilter(LineFilter):
    """Draws every line of every widget in these characters."""

    def __init__(self, characters: Characters) -> None:
        super().__init__(enabled=characters != "all")
        self.characters: Characters = characters

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """The segments, each as wide as it was."""
        return [
            segment
            if segment.text.isascii()
            else Segment(plain(segment.text, self.characters), segment.style, segment.control)
            for segment in segments
        ]
