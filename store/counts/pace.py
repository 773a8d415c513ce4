"""The pace of plain decoding beside rounds: the one place that computes a baseline and its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median, stdev
from typing import NamedTuple

from spectui.store.counts.median import median_ranks

STUDENT_T = {3: 4.303, 4: 3.182, 5: 2.776}
"""Standard errors from the middle of a 95 % interval to its ends, by the number of values (scipy's, which would take a
third of a second of the run to import)."""


class Pace(NamedTuple):
    """Milliseconds of a token decoded plainly, and how well they are known; the columns of a session's row."""

    ms: float | None = None
    low_ms: float | None = None
    """With `high_ms` the 95 % interval; None of fewer than three measurements."""
    high_ms: float | None = None
    times: int = 0
    """The number of measurements."""


def pace_of(measured: Sequence[tuple[float, float | None]], round_ms: float | None) -> Pace:
    """The pace by measurements, each with the time of the rounds beside it, in rounds that took `round_ms` on average.

    A shared machine is faster in one second than in the next. So each measurement is divided by the time of the rounds
    just before and after it. The baseline is the median of these ratios, times the mean time of a round: as if both
    had been measured at the same time, and held up alike. Its range is that of the median's 95 % interval. Where times
    of rounds are not known, it is the median of the measurements, without a range.
    """
    if not measured:
        return Pace()
    pairs = [(ms, beside) for ms, beside in measured if beside]
    if not pairs or not round_ms:
        return Pace(median(ms for ms, _ in measured), times=len(measured))
    middle, ends = pace(pairs)
    low, high = (None, None) if ends is None else (round_ms * ends[0], round_ms * ends[1])
    return Pace(round_ms * middle, low, high, len(pairs))


def pace(measured: Sequence[tuple[float, float]]) -> tuple[float, tuple[float, float] | None]:
    """Time of a plain token over that of a round, and its 95 % interval, from pairs of both.

    The median of the ratios. From six on its interval ends at two of them, whatever their distribution; with three to
    five it is Student's, of their logarithms. With fewer there is none: two that happen to be close say nothing.
    """
    ratios = sorted(plain / round_ms for plain, round_ms in measured)
    count, middle = len(ratios), median(ratios)
    ranks = median_ranks(count)
    if ranks is not None:
        return middle, (ratios[ranks[0]], ratios[ranks[1]])
    if count not in STUDENT_T:
        return middle, None
    # The median of a few normal values is off by a quarter more than their mean.
    half = STUDENT_T[count] * 1.2533 * stdev(map(math.log, ratios)) / math.sqrt(count)
    return middle, (middle * math.exp(-half), middle * math.exp(half))
