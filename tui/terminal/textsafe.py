"""Text from models, prompts and files made fit for a terminal: what would steer it becomes visible.

Imports nothing heavy: the command line uses it for whatever it prints.
"""

from __future__ import annotations

import re

_RANGES = (
    "\x00-\x09\x0b-\x1f\x7f-\x9f"  # C0 but the newline, DEL, C1
    "\u00ad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2"  # soft hyphen, joiner, number signs
    "\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\uffa0"  # fillers and selectors that draw nothing
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # zero width, bidi, separators
    "\ud800-\udfff"  # lone surrogates cannot be encoded
    "\ufe00-\ufe0f"  # variation selectors
    "\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff"  # tags and further selectors
)
_UNSAFE = re.compile(f"[{_RANGES}]")
_VARIATION = range(0xFE00, 0xFE10)
TAB = "    "


def sanitize(text: str) -> str:
    r"""`text` with everything that could steer or confuse a terminal shown as a symbol.

    C0 controls become their picture (``ESC`` is ``␛``), other invisible or direction-changing
    characters their code point in ``⟨ ⟩``; a tab becomes four spaces; newlines stay. Variation
    selectors are dropped: terminals disagree about how wide they make what they follow. The result
    contains no control character but ``\n`` and can always be encoded.
    """
    if text.isascii() and text.isprintable():
        return text
    return _UNSAFE.sub(_symbol, text)


def sanitize_line(text: str) -> str:
    """As `sanitize`, for text that must stay on one line: newlines become ``↵``."""
    return sanitize(text).replace("\n", "↵")


def _symbol(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code == 0x09:
        return TAB
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "␡"
    if code in _VARIATION:
        return ""
    return f"⟨{code:04X}⟩"
