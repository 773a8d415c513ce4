"""Colours may go missing: what tells kinds apart must not be colour alone."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
from rich.style import Style

import tui
from tui.theme import FIRST_TASKS, PALETTES, TASK_COLOURS, THEME_NAMES, default_theme, styles, task_slots


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


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("palette", [p for p in PALETTES if not p.ansi], ids=lambda p: p.name)
def test_text_can_be_read_on_its_background(palette: object) -> None:
    """WCAG's contrast of 4.5 for text; the rejected are dimmed on purpose, the faint are lines."""
    back = luminance(palette.background)  # type: ignore[attr-defined]
    for role in (
        "text",
        "muted",
        "accepted",
        "target",
        "good",
        "warning",
        "bad",
        "accent",
        "task-0",
        "task-7",
    ):
        colour = styles(palette.name)[role].color  # type: ignore[attr-defined]
        assert colour is not None
        front = luminance(colour.name)
        assert (max(front, back) + 0.05) / (min(front, back) + 0.05) >= 4.5, role


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
        f"{path.name}: {found.group()}"
        for path in [*folder.rglob("*.py"), *folder.rglob("*.tcss")]
        if path.name != "theme.py" and (found := named.search(path.read_text()))
    ]
    assert offenders == []
