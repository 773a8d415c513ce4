"""Colours may go missing: what tells kinds apart must not be colour alone."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.style import Style

from spectui import tui
from spectui.tui.terminal.theme import (
    FIRST_TASKS,
    PALETTES,
    TASK_COLOURS,
    THEME_NAMES,
    Palette,
    default_theme,
    styles,
    task_slots,
)


def attributes(style: Style) -> tuple[bool, ...]:
    return tuple(
        bool(a) for a in (style.bold, style.dim, style.italic, style.underline, style.strike, style.reverse)
    )


@pytest.mark.parametrize("theme", THEME_NAMES)
def test_kinds_differ_in_attributes(theme: str) -> None:
    known = styles(theme)
    kinds = ("accepted", "target", "rejected", "note")
    for a, b in itertools.combinations(kinds, 2):
        assert attributes(known[a]) != attributes(known[b]), (a, b)
    assert attributes(known["accepted-path"]) != attributes(known["text"])
    assert any(attributes(known["marked"]))
    assert any(attributes(known["cursor"]))


@pytest.mark.parametrize("palette", PALETTES, ids=lambda p: p.name)
def test_colours_differ_too(palette: object) -> None:
    known = styles(palette.name)  # type: ignore[attr-defined]
    assert len({known[k].color for k in ("accepted", "target", "rejected")}) == 3
    assert len({known[f"task-{slot}"].color for slot in range(TASK_COLOURS)}) == TASK_COLOURS


TERMINALS = {
    "xterm": "000000 cd0000 00cd00 cdcd00 0000ee cd00cd 00cdcd e5e5e5 7f7f7f ff0000 00ff00 ffff00 5c5cff ff00ff 00ffff",
    "VGA": "000000 aa0000 00aa00 aa5500 0000aa aa00aa 00aaaa aaaaaa 555555 ff5555 55ff55 ffff55 5555ff ff55ff 55ffff",
}
"""The 16 colours as terminals draw them: xterm's own and the Linux console's. Each begins with its background."""
NAMES = ["black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"]

Rgb = tuple[float, float, float]

MACHADO: dict[str, tuple[Rgb, Rgb, Rgb]] = {
    "any": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
    "protan": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deutan": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
    "tritan": (
        (1.255528, -0.076749, -0.178779),
        (-0.078411, 0.930809, 0.147602),
        (0.004733, 0.691367, 0.303900),
    ),
}
"""Machado, Oliveira and Fernandes 2009, doi:10.1109/TVCG.2009.113: full dichromacy, on linear RGB."""


def linear(colour: str) -> Rgb:
    """sRGB ``#rrggbb`` as linear light."""
    channels = (int(colour.lstrip("#")[i : i + 2], 16) / 255 for i in (0, 2, 4))
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return red, green, blue


def times(matrix: tuple[Rgb, Rgb, Rgb], colour: Rgb) -> Rgb:
    x, y, z = (sum(a * b for a, b in zip(row, colour, strict=True)) for row in matrix)
    return x, y, z


def contrast(one: str, other: str) -> float:
    """WCAG's, from 1 to 21."""
    a, b = (times(((0.2126, 0.7152, 0.0722),) * 3, linear(colour))[0] for colour in (one, other))
    return (max(a, b) + 0.05) / (min(a, b) + 0.05)


def lab(colour: Rgb) -> Rgb:
    """CIE L*a*b*, D65, of linear RGB."""
    red, green, blue = (min(max(c, 0.0), 1.0) for c in colour)
    x = (0.4124 * red + 0.3576 * green + 0.1805 * blue) / 0.95047
    y = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    z = (0.0193 * red + 0.1192 * green + 0.9505 * blue) / 1.08883
    fx, fy, fz = (t ** (1 / 3) if t > 0.008856 else 7.787 * t + 16 / 116 for t in (x, y, z))
    return 116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)


def on(terminal: str, name: str) -> str:
    """One of the 16 colours as that terminal shows it."""
    table = TERMINALS[terminal].split()
    return "#" + table[NAMES.index(name.removeprefix("bright_")) + 8 * name.startswith("bright_")]


def colours(palette: Palette) -> Iterator[tuple[str, str, dict[str, str]]]:
    """A place to draw a theme on: its name, its background, the colours of its roles."""
    known = {role: style.color.name for role, style in styles(palette.name).items() if style.color}
    if not palette.ansi:
        yield palette.name, palette.background, known
        return
    for terminal in TERMINALS:
        named = {role: on(terminal, name) for role, name in known.items() if name != "default"}
        yield f"{palette.name} in {terminal}", on(terminal, "black"), named


@pytest.mark.parametrize("palette", PALETTES, ids=lambda p: p.name)
def test_text_can_be_read_on_every_background_it_is_drawn_on(palette: Palette) -> None:
    """WCAG's contrast of 4.5 for text, in every style there is; only lines and meters may be fainter."""
    for where, background, known in colours(palette):
        grounds = {background} if palette.ansi else {background, palette.surface, palette.mark}
        for (role, colour), ground in itertools.product(known.items(), grounds):
            if role != "faint":
                assert contrast(colour, ground) >= 4.5, f"{where}: {role} {colour} on {ground}"
    assert not any(
        style.dim for role, style in styles(palette.name).items() if role != "muted" or not palette.ansi
    )


@pytest.mark.parametrize("eyes", MACHADO)
@pytest.mark.parametrize("palette", PALETTES, ids=lambda p: p.name)
def test_the_four_tasks_can_be_told_apart(palette: Palette, eyes: str) -> None:
    """Seen by these eyes, each two differ by at least 15 in CIELAB; 2.3 is what is just noticed."""
    for where, _, known in colours(palette):
        seen = [lab(times(MACHADO[eyes], linear(known[f"task-{slot}"]))) for slot in range(len(FIRST_TASKS))]
        for (i, a), (j, b) in itertools.combinations(enumerate(seen), 2):
            assert math.dist(a, b) >= 15, f"{where}: {FIRST_TASKS[i]}, {FIRST_TASKS[j]}"


def test_known_tasks_keep_their_colour_and_others_follow() -> None:
    assert task_slots(["chat", "code"]) == {"chat": 3, "code": 0}
    slots = task_slots(["rag", "math", "translation", "rag"])
    assert slots == {"rag": len(FIRST_TASKS), "math": 1, "translation": len(FIRST_TASKS) + 1}
    assert set(task_slots([f"t{i}" for i in range(40)]).values()) <= set(range(TASK_COLOURS))


def test_plain_terminals_start_in_the_ansi_theme() -> None:
    assert default_theme("truecolor", no_color=False) == "dark"
    assert default_theme("256", no_color=False) == "dark"
    assert default_theme("standard", no_color=False) == "ansi"
    assert default_theme("truecolor", no_color=True) == "ansi"
    assert default_theme(None, no_color=False) == "ansi"


def test_nothing_but_the_themes_names_a_colour() -> None:
    folder = Path(tui.__file__).parent
    named = re.compile(r"#[0-9a-fA-F]{6}\b|\b(?:ansi_(?!color\b)|bright_)\w+|color\(|rgb\(")
    offenders = [
        f"{path.name}: {match.group()}"
        for path in [*folder.rglob("*.py"), *folder.rglob("*.tcss")]
        if path.name != "theme.py" and (match := named.search(path.read_text()))
    ]
    assert offenders == []
