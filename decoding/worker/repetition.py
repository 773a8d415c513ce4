"""Whether a text has run into a loop."""

from __future__ import annotations

from collections.abc import Sequence

LONGEST = 128
"""Tokens of the longest loop that is looked for."""
TIMES = 4
"""How often something must stand at the end, without a gap, to count as endless repetition..."""
TOKENS = 64
"""...and how many tokens that must be: tables and lists repeat a little too."""


def loop(tokens: Sequence[int]) -> tuple[int, int] | None:
    """The length of what the end repeats and where that begins, such as ``(3, 40)``; None for no loop."""
    end = len(tokens)
    for length in range(1, min(LONGEST, end // TIMES) + 1):
        start = end - length
        while start > 0 and tokens[start - 1] == tokens[start - 1 + length]:
            start -= 1
        if end - start >= max(TOKENS, TIMES * length):
            return length, start
    return None
