"""A speed-up over plain decoding in words: with the interval that measurements give, or why there is none."""

from __future__ import annotations

from spectui.store.rows import Paced, SessionSummary


def range_words(summary: Paced) -> str:
    """``1.31 to 1.55, measured 40 times``; for a session with a speed-up."""
    low, high = summary.speedup_range or (0.0, 0.0)
    return f"{low:.2f} to {high:.2f}, measured {times_words(summary.baseline_count)}"


def unknown_words(summary: SessionSummary) -> str | None:
    """The reason why a session has no speed-up, as a sentence; None where it has one, or measured nothing."""
    if summary.speedup is not None or not summary.baseline_count:
        return None
    few = summary.baseline_low_ms is None
    return (
        f"plain decoding was measured {times_words(summary.baseline_count)}, "
        f"{'too seldom' if few else 'with results too far apart'} to tell a speed-up"
    )


def times_words(count: int) -> str:
    """``once``, ``twice``, ``3 times``."""
    return {1: "once", 2: "twice"}.get(count, f"{count:,} times")


def short_range(summary: SessionSummary) -> str:
    """``1.31–1.55``; for a session with a speed-up."""
    low, high = summary.speedup_range or (0.0, 0.0)
    return f"{low:.2f}–{high:.2f}"
