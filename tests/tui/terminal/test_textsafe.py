"""Model text is data: nothing in it may reach a terminal as a command, and nothing may hide."""

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from spectui.tui.terminal.textsafe import sanitize, sanitize_line

ANY_TEXT = st.text(st.characters(exclude_categories=()))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("two\nlines", "two\nlines"),
        ("a\tb", "a    b"),
        ("\x1b[31mred\x1b[0m", "␛[31mred␛[0m"),
        ("\x1b]52;c;aGk=\x07", "␛]52;c;aGk=␇"),
        ("\r\n", "␍\n"),
        ("\x7f\x9b31m", "␡⟨009B⟩31m"),
        ("a\u202eb", "a⟨202E⟩b"),
        ("a\u200bb\ufeff", "a⟨200B⟩b⟨FEFF⟩"),
        ("\ud83d", "⟨D83D⟩"),
        ("[red]not markup[/red]", "[red]not markup[/red]"),
        ("❤\ufe0f", "❤"),
        ("e\u0301 漢字 🙂", "e\u0301 漢字 🙂"),
    ],
)
def test_shows(text: str, shown: str) -> None:
    assert sanitize(text) == shown


def test_every_control_and_format_character_is_replaced() -> None:
    """The table is written out for speed; Unicode's own categories say whether it is complete."""
    unsafe = [
        f"{code:04X}"
        for code in range(sys.maxunicode + 1)
        if unicodedata.category(chr(code)) in ("Cc", "Cf", "Cs", "Zl", "Zp")
        and chr(code) != "\n"
        and chr(code) in sanitize(chr(code))
    ]
    assert unsafe == []


@given(ANY_TEXT)
def test_is_printable_encodable_and_stable(text: str) -> None:
    safe = sanitize(text)
    safe.encode("utf-8")
    assert not any(unicodedata.category(c) in ("Cc", "Cf", "Cs") for c in safe if c != "\n")
    assert sanitize(safe) == safe


@given(ANY_TEXT)
def test_width_adds_up_over_characters(text: str) -> None:
    """Wrapping counts cell by cell; a sequence that changed its neighbours' width would tear lines."""
    safe = sanitize_line(text)
    assert cell_len(safe) == sum(cell_len(c) for c in safe)
    assert "\n" not in safe
