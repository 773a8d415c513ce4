"""Text fitted to terminal cells, and numbers written so that they line up. No Textual, no colours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from rich.cells import cell_len, set_cell_size

from spectui.tui.terminal.glyphs import BLOCKS, glyphs

Align = Literal["left", "right"]

NOTHING = BLOCKS.nothing
"""Stands where a number is not known."""


def fit(text: str, width: int, align: Align = "left") -> str:
    """`text` in exactly `width` cells: padded, or cut with an ellipsis."""
    if width <= 0:
        return ""
    if (size := cell_len(text)) > width:
        return set_cell_size(text, width - 1) + glyphs().ellipsis
    pad = " " * (width - size)
    return text + pad if align == "left" else pad + text


def pad(text: str, width: int, align: Align = "left") -> str:
    """`text` in at least `width` cells. For figures, which are never cut: a longer one takes more."""
    blank = " " * (width - cell_len(text))
    return text + blank if align == "left" else blank + text


def fitting(parts: Sequence[str], width: int, joint: str = " · ") -> str:
    """As many of `parts` as stand side by side in `width` cells, the first ones first.

    Of a first part that is longer, whole words stay: half a number would read as another.
    """
    text = parts[0] if parts else ""
    if cell_len(text) > width:
        words = text.split(" ")
        while words and cell_len(" ".join(words)) > width - 2:
            words.pop()
        return f"{' '.join(words)} {glyphs().ellipsis}" if words else fit(text, width)
    for part in parts[1:]:
        if cell_len(text) + cell_len(joint) + cell_len(part) <= width:
            text += joint + part
    return text


def bar(share: float, width: int) -> str:
    """A horizontal bar of `share` (0 to 1) of `width` cells, to an eighth of a cell, padded with spaces."""
    eighths = round(min(max(share, 0.0), 1.0) * width * 8)
    if share > 0:
        eighths = max(eighths, 1)  # something happened: never draw it as nothing
    full, rest = divmod(eighths, 8)
    across = glyphs().across
    text = across[8] * full + (across[rest] if rest else "")
    return text.ljust(width)


def columns(values: Sequence[float], most: float | None = None) -> str:
    """Upright bars, one cell a value, as high as its share of `most`, else of the highest; what is above 0 shows."""
    most = max(values, default=0) if most is None else most
    if most <= 0:
        return " " * len(values)
    up = glyphs().up
    return "".join(up[max(round(value / most * 8), 1) if value > 0 else 0] for value in values)


def stack(part: float, height: int) -> list[str]:
    """One upright bar of `part` (0 to 1) of `height` rows, to an eighth of a row: its cells from the top down.

    What is above 0 shows.
    """
    eighths = round(min(max(part, 0.0), 1.0) * height * 8)
    if part > 0:
        eighths = max(eighths, 1)
    up = glyphs().up
    return [up[min(max(eighths - 8 * (height - 1 - row), 0), 8)] for row in range(height)]


def count(value: int | None) -> str:
    """An integer with thousands separators: ``12,345``."""
    return NOTHING if value is None else f"{value:,}"


def counted(number: int, noun: str) -> str:
    """``1 prompt``, ``12,345 prompts``: a number of things whose noun takes an s."""
    return f"{count(number)} {noun}{'' if number == 1 else 's'}"


def short_count(value: int | None) -> str:
    """An integer in at most five cells: ``9,999``, ``12.3k``, ``1.2M``."""
    if value is None:
        return NOTHING
    if value < 10_000:
        return f"{value:,}"
    for unit, size in (("k", 1_000), ("M", 1_000_000), ("G", 1_000_000_000)):
        scaled = value / size
        if scaled < 999.5:
            return f"{scaled:.1f}{unit}" if scaled < 99.95 else f"{scaled:.0f}{unit}"
    return f"{value / 1e12:.1f}T"


def rate(value: float | None) -> str:
    """Tokens per second: ``93.9``, ``12,345.6``, ``1.2M``."""
    if value is None:
        return NOTHING
    return f"{value:,.1f}" if value < 99_999.95 else short_count(round(value))


def share(value: float | None) -> str:
    """A probability or rate in three cells, ``.61``; ``1.0`` for one."""
    if value is None:
        return NOTHING
    text = f"{value:.2f}"
    return "1.0" if text == "1.00" else text.removeprefix("0")


def number(value: float | None, digits: int = 2) -> str:
    """A number with fixed decimals, or the sign for an unknown one."""
    return NOTHING if value is None else f"{value:.{digits}f}"


def percent(value: float | None) -> str:
    """A share as whole percent: ``38 %``."""
    return NOTHING if value is None else f"{value * 100:.0f} %"


def duration(seconds: float | None) -> str:
    """``0:42``, ``13:40``, ``2:05:09``, ``3d 04:05``."""
    if seconds is None:
        return NOTHING
    whole = max(int(seconds), 0)
    minutes, s = divmod(whole, 60)
    hours, m = divmod(minutes, 60)
    if hours >= 24:
        return f"{hours // 24}d {hours % 24:02d}:{m:02d}"
    return f"{hours}:{m:02d}:{s:02d}" if hours else f"{m}:{s:02d}"


def size(number_of_bytes: float | None) -> str:
    """Bytes in decimal units: ``640 MB``, ``1.3 GB``."""
    if number_of_bytes is None:
        return NOTHING
    scaled = float(number_of_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if scaled < 999.5:
            return f"{scaled:.1f} {unit}" if unit == "GB" and scaled < 99.95 else f"{scaled:.0f} {unit}"
        scaled /= 1000
    return f"{scaled:.1f} TB"
