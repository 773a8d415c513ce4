"""Words and figures of a server as files have them."""

from __future__ import annotations

import math
from collections.abc import Iterable

LONGEST, END = 200, 40
DIGITS = 6


def clean(word: object) -> str | None:
    """Words of a client, without characters that steer a terminal; None of what is no word and no number.

    Long ones lose their middle: what tells requests apart is the end of their names.
    """
    if not isinstance(word, str | int | float) or isinstance(word, bool):
        return None
    text = str(word)
    if len(text) > LONGEST:
        text = f"{text[: LONGEST - END - 1]}~{text[-END:]}"
    return text if text.isprintable() else "".join(letter if letter.isprintable() else "?" for letter in text)


def figures(values: Iterable[float]) -> list[float | None]:
    """Rounded; None of what is no finite number, which JSON has not."""
    return [round(value, DIGITS) if math.isfinite(value) else None for value in values]
