"""A speed-up over plain decoding in words: with the range that repeated measurements give, or that there is one."""

from __future__ import annotations

from spectui.store.rows import SessionSummary


def range_words(summary: SessionSummary) -> str:
    """``1.31 to 1.55, measured 4 times``, ``measured once``; for a session with a speed-up."""
    interval = summary.speedup_range
    if interval is None:
        return "measured once"
    return f"{interval[0]:.2f} to {interval[1]:.2f}, measured {times_words(summary.baseline_count)}"


def times_words(count: int) -> str:
    """``once``, ``twice``, ``3 times``."""
    return {1: "once", 2: "twice"}.get(count, f"{count:,} times")


def short_range(summary: SessionSummary) -> str:
    """``1.31–1.55``, or ``once``."""
    interval = summary.speedup_range
    return "once" if interval is None else f"{interval[0]:.2f}–{interval[1]:.2f}"
