"""The four themes, and the only place that names a colour.

A widget asks for a style by what it says ("accepted", "muted", the task "math"), never by how it
looks. Every distinction that matters is carried by an attribute or a word as well as by colour, so
that `NO_COLOR`, 16 colours and colour-blind eyes lose nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

from rich.style import Style
from textual.theme import Theme

FIRST_TASKS = ("code", "math", "logic", "chat")
"""Tasks with a colour of their own, whatever else a session holds."""

TASK_COLOURS = 8


@dataclass(frozen=True)
class Palette:
    """The colours of one theme, as Rich names them."""

    name: str
    dark: bool
    ansi: bool
    background: str
    surface: str
    foreground: str
    muted: str
    faint: str
    accent: str
    good: str
    warning: str
    bad: str
    accepted: str
    target: str
    rejected: str
    mark: str
    """Behind the round that is being looked at, and behind the cursor's row."""
    tasks: tuple[str, str, str, str, str, str, str, str]


PALETTES = (
    Palette(
        name="dark",
        dark=True,
        ansi=False,
        background="#10141a",
        surface="#171d26",
        foreground="#c8d0da",
        muted="#95a0ae",
        faint="#46505d",
        accent="#7fb4e6",
        good="#8ccf9f",
        warning="#e2b86b",
        bad="#e57f84",
        accepted="#8ccf9f",
        target="#f0cb7c",
        rejected="#c98a90",
        mark="#26303d",
        tasks=("#82a4e9", "#e2b060", "#dcbcec", "#55dfae", "#ee8fae", "#a9cf76", "#8fd3ee", "#c8a98a"),
    ),
    Palette(
        name="light",
        dark=False,
        ansi=False,
        background="#fbfaf7",
        surface="#f1efe9",
        foreground="#272c33",
        muted="#5a636d",
        faint="#b9bec5",
        accent="#1f5fb0",
        good="#187036",
        warning="#855305",
        bad="#b3282d",
        accepted="#187036",
        target="#855305",
        rejected="#b3282d",
        mark="#e3e6ea",
        tasks=("#173a86", "#8a4f08", "#9a2fb8", "#0d6b60", "#a8245f", "#47690e", "#0a6a88", "#71502f"),
    ),
    # After Okabe and Ito, a little lighter: kinds of text too are told apart with any colour blindness.
    Palette(
        name="colour-blind-safe",
        dark=True,
        ansi=False,
        background="#101214",
        surface="#191c1f",
        foreground="#d5d8db",
        muted="#9aa0a7",
        faint="#4d5359",
        accent="#56b4e9",
        good="#56b4e9",
        warning="#e69f00",
        bad="#ef7a2e",
        accepted="#56b4e9",
        target="#f0e442",
        rejected="#ef7a2e",
        mark="#2a3036",
        tasks=("#5ea6ee", "#e8a51c", "#d685b2", "#86e2bf", "#f0e442", "#9fc9f0", "#ef7a2e", "#a9adb1"),
    ),
    # The terminal's own 16 colours on its own background; blue and dark red cannot be read on black.
    Palette(
        name="ansi",
        dark=True,
        ansi=True,
        background="default",
        surface="default",
        foreground="default",
        muted="default",
        faint="bright_black",
        accent="cyan",
        good="green",
        warning="bright_yellow",
        bad="bright_red",
        accepted="green",
        target="bright_yellow",
        rejected="bright_red",
        mark="default",
        tasks=(
            "bright_cyan",
            "bright_yellow",
            "bright_magenta",
            "bright_red",
            "green",
            "cyan",
            "bright_green",
            "white",
        ),
    ),
)

THEME_NAMES = tuple(palette.name for palette in PALETTES)
DEFAULT_THEME = "dark"
PLAIN_THEME = "ansi"
"""For terminals of 16 colours and for `NO_COLOR`."""


def default_theme(color_system: str | None, *, no_color: bool) -> str:
    """The theme to start with, by what the terminal can draw (a name of Rich's colour systems)."""
    return PLAIN_THEME if no_color or color_system in (None, "standard") else DEFAULT_THEME


def themes() -> list[Theme]:
    """The themes for Textual's style sheets."""
    return [_textual_theme(palette) for palette in PALETTES]


def task_slots(tasks: Iterable[str]) -> dict[str, int]:
    """A colour slot for each task: the known four keep theirs, others follow in the order given."""
    slots: dict[str, int] = {}
    following = len(FIRST_TASKS)
    for task in tasks:
        if task in FIRST_TASKS:
            slots[task] = FIRST_TASKS.index(task)
        elif task not in slots:
            slots[task] = following % TASK_COLOURS
            following += 1
    return slots


@cache
def styles(theme: str) -> Mapping[str, Style]:
    """The style of each role in the theme of that name."""
    palette = next((p for p in PALETTES if p.name == theme), PALETTES[0])
    ansi = palette.ansi
    out = {
        "text": Style(color=palette.foreground),
        "strong": Style(color=palette.foreground, bold=True),
        "muted": Style(color=palette.muted, dim=ansi or None),
        "faint": Style(color=palette.faint),  # lines and meters, never words
        "accent": Style(color=palette.accent),
        "key": Style(color=palette.accent, bold=True),
        "good": Style(color=palette.good),
        "warning": Style(color=palette.warning, bold=True),
        "bad": Style(color=palette.bad, bold=True),
        "accepted": Style(color=palette.accepted),
        "accepted-path": Style(color=palette.accepted, bold=True),
        "target": Style(color=palette.target, bold=True),
        # Struck through is what tells it; dimmer than its colour it could not be read.
        "rejected": Style(color=palette.rejected, strike=True),
        "note": Style(color=palette.muted, italic=True),
        "error": Style(color=palette.bad),
        # The terminal's own background cannot be tinted, so the ansi theme marks by attribute alone.
        "marked": Style(underline=True, bgcolor=None if ansi else palette.mark),
        "cursor": Style(color="default", bgcolor="default", reverse=True)
        if ansi
        else Style(bgcolor=palette.mark, bold=True),
    }
    for slot, colour in enumerate(palette.tasks):
        out[f"task-{slot}"] = Style(color=colour)
        out[f"task-{slot}-name"] = Style(color=colour, bold=True)
    return out


def _textual_theme(palette: Palette) -> Theme:
    def css(colour: str) -> str:
        return f"ansi_{colour}" if palette.ansi else colour

    variables = {
        "muted": css(palette.muted),
        "faint": css(palette.faint),
        "mark": css(palette.mark),
        "border": css(palette.accent),
        "border-blurred": css(palette.faint),
        "scrollbar": css(palette.faint),
        "scrollbar-hover": css(palette.muted),
        "scrollbar-active": css(palette.accent),
        "scrollbar-background": css(palette.background),
        "scrollbar-background-hover": css(palette.background),
        "scrollbar-background-active": css(palette.background),
        "scrollbar-corner-color": css(palette.background),
    }
    if palette.ansi:
        variables |= {
            "ansi-background": "ansi_black",
            "ansi-foreground": "ansi_white",
            "block-cursor-foreground": "ansi_black",
            "block-cursor-background": "ansi_white",
            "input-cursor-background": "ansi_white",
            "input-cursor-foreground": "ansi_black",
            "input-selection-background": "ansi_blue",
            "input-selection-foreground": "ansi_white",
            "screen-selection-background": "ansi_blue",
            "screen-selection-foreground": "ansi_white",
        }
    return Theme(
        name=palette.name,
        primary=css(palette.accent),
        secondary=css(palette.muted),
        accent=css(palette.accent),
        warning=css(palette.warning),
        error=css(palette.bad),
        success=css(palette.good),
        foreground=css(palette.foreground),
        background=css(palette.background),
        surface=css(palette.surface),
        panel=css(palette.surface),
        boost=css(palette.surface) if palette.ansi else None,
        dark=palette.dark,
        ansi=palette.ansi,
        variables=variables,
    )
