"""Does speculation pay on a server: its time per token against that of plain decoding under a like load.

A round of a request takes R milliseconds and brings T tokens; plain decoding takes P for each. Speculation pays while
``R < T x P``. R and T follow from counters alone. P does not: it comes from a server without speculation, watched
beside this one or before it. Without any there is no verdict, only the P from which on it would pay: ``R / T``.

Plain decoding slows down with the load, as speculation does, so that only stretches of a like load are compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from typing import Literal

from spectui.servers.watch.figures import Figures, added

Verdict = Literal["YES", "NO", "EVEN", "?"]

LEAST_ROUNDS = 500
"""Rounds below which nothing is said."""
LEAST_SLICES = 3
"""Stretches, minutes as a rule, that a band needs."""
SLICE_ROUNDS = 20
"""Rounds below which a stretch tells nothing."""
LIKE = 0.25
"""Loads are alike up to this share of the larger one, or half a request."""
MATCHED = 0.5
"""Share of the tokens that must have come under a load at which plain decoding was seen too."""
EVEN = 0.03
"""A ratio without a band is even when it is this near to 1."""
BAND = (0.1, 0.9)


@dataclass(frozen=True)
class Plain:
    """Plain decoding as it was seen somewhere."""

    source: str
    """In words: ``gpu7:8001``, or ``before the restart at 22:41``."""
    slices: tuple[Figures, ...]
    """Its stretches, or one since its start."""

    @cached_property
    def rounds(self) -> float:
        """Rounds of all of it."""
        return sum(one.rounds or 0.0 for one in self.slices)


@dataclass(frozen=True)
class Payoff:
    """The answer, and what it rests on."""

    verdict: Verdict
    why: str
    """The reason for a "?"; "" for an answer."""
    speedup: float | None = None
    """Time of plain decoding over that of speculation, for the same tokens; above 1 it pays."""
    band: tuple[float, float] | None = None
    """10 % to 90 % of the stretches."""
    ms_per_token: float | None = None
    plain_ms: float | None = None
    """Under the loads of the speculating server."""
    plain_source: str = ""
    loads: tuple[float, float] | None = None
    """Lowest and highest load of the plain stretches that were compared."""
    ms_per_round: float | None = None
    tokens_per_round: float | None = None
    pays_below_ms: float | None = None
    """A round pays while it takes less."""
    rounds: float = 0.0
    since_start: bool = False
    """The figures are those since the server's start: the minutes watched are too few."""


def payoff(slices: Sequence[Figures], whole: Figures | None, plain: Plain | None) -> Payoff:
    """The payoff over stretches of a speculating server, against `plain`.

    `whole` is everything since the server's start, for when the stretches are too few yet. Times are those of a
    request that is being decoded: waiting and the first token are not among them.
    """
    slices = [one for one in slices if (one.rounds or 0) >= SLICE_ROUNDS]
    figures = added(slices)
    enough = figures is not None and (figures.rounds or 0) >= LEAST_ROUNDS and len(slices) >= LEAST_SLICES
    since_start = not enough and whole is not None and (whole.rounds or 0) >= LEAST_ROUNDS
    if since_start:
        assert whole is not None
        slices, figures = [whole], whole
    if figures is None or figures.ms_per_token is None:
        return _none_yet(figures or whole, slices)
    base = Payoff(
        "?",
        "",
        ms_per_token=figures.ms_per_token,
        ms_per_round=figures.ms_per_round,
        tokens_per_round=figures.tokens_per_round,
        rounds=figures.rounds or 0.0,
        since_start=since_start,
    )
    if not enough and not since_start:
        return replace(
            base, why=f"{base.rounds:,.0f} rounds; a verdict needs {LEAST_ROUNDS} and {LEAST_SLICES} minutes"
        )
    if plain is None:
        return replace(base, why=f"it pays if a plain step takes more than {figures.ms_per_token:.1f} ms")
    return _compared(base, slices, plain)


def _none_yet(figures: Figures | None, slices: Sequence[Figures]) -> Payoff:
    rounds = (figures.rounds or 0.0) if figures is not None else 0.0
    if figures is not None and rounds >= LEAST_ROUNDS and slices:
        return Payoff("?", "this server does not say how long decoding takes", rounds=rounds)
    words = f"{rounds:,.0f} rounds" if rounds else "no round yet"
    return Payoff("?", f"{words}; a verdict needs {LEAST_ROUNDS} and {LEAST_SLICES} minutes", rounds=rounds)


def _compared(base: Payoff, slices: Sequence[Figures], plain: Plain) -> Payoff:
    known = [
        one for one in plain.slices if one.ms_per_token is not None and (one.rounds or 0) >= SLICE_ROUNDS
    ]
    if sum(one.rounds or 0 for one in known) < LEAST_ROUNDS:
        return replace(
            base, plain_source=plain.source, why=f"plain decoding at {plain.source}: too few tokens yet"
        )
    plain_ms = took_ms = tokens = matched = 0.0
    ratios: list[float] = []
    levels = _levels(known)
    for one in slices:
        token_ms, count = one.ms_per_token, one.decode_tokens
        if token_ms is None or not count:
            continue
        tokens += count
        if (reference := _plain_ms(one.load, levels)) is None:
            continue
        matched += count
        plain_ms += count * reference
        took_ms += count * token_ms
        ratios.append(reference / token_ms)
    here = {one.load for one in slices}
    loads = [
        level.load
        for level in levels
        if level.load is not None and any(like(level.load, load) for load in here)
    ]
    if not matched or matched < MATCHED * tokens:
        return replace(base, plain_source=plain.source, why=_unlike(slices, known, plain.source))
    speedup, reference = plain_ms / took_ms, plain_ms / matched
    band = _band(ratios) if len(ratios) >= LEAST_SLICES else None
    low, high = band or (speedup * (1 - EVEN), speedup * (1 + EVEN))
    verdict: Verdict = "YES" if low > 1 else "NO" if high < 1 else "EVEN"
    brings = base.tokens_per_round
    return replace(
        base,
        verdict=verdict,
        speedup=speedup,
        band=band,
        plain_ms=reference,
        plain_source=plain.source,
        loads=(min(loads), max(loads)) if loads else None,
        pays_below_ms=None if brings is None else brings * reference,
    )


def like(first: float | None, second: float | None) -> bool:
    """True when two loads are alike, or one of them is not known."""
    if first is None or second is None:
        return True
    return abs(first - second) <= max(0.5, LIKE * max(first, second))


@dataclass(frozen=True)
class _Level:
    """Plain decoding under one load."""

    load: float | None
    ms: float
    tokens: float


def _levels(known: Sequence[Figures]) -> list[_Level]:
    """Stretches by their load, in steps of a tenth: a day of them is compared as fast as minutes are."""
    timed = [
        _Level(one.load, one.ms_per_token, one.decode_tokens)
        for one in known
        if one.ms_per_token is not None and one.decode_tokens
    ]
    levels = [level for level in timed if level.load is None]
    by_load = sorted((level for level in timed if level.load is not None), key=_tenths)
    for tenths, alike in groupby(by_load, _tenths):
        several = list(alike)
        tokens = sum(level.tokens for level in several)
        ms = sum(level.tokens * level.ms for level in several) / tokens
        levels.append(_Level(tenths / 10, ms, tokens))
    return levels


def _tenths(level: _Level) -> float:
    return round((level.load or 0.0) * 10)


def _plain_ms(load: float | None, levels: Sequence[_Level]) -> float | None:
    """The time of a plain token under a load: of the stretches of a like load, nearer ones counting for more."""
    total = weights = 0.0
    for level in levels:
        if not like(load, level.load):
            continue
        apart = abs(level.load - load) if load is not None and level.load is not None else 0.0
        weight = level.tokens / (0.1 + apart) ** 2
        total += weight * level.ms
        weights += weight
    return total / weights if weights else None


def _unlike(slices: Sequence[Figures], known: Sequence[Figures], source: str) -> str:
    return f"the load differs: {_range(slices)} requests at a time here, {_range(known)} at {source}"


def _range(several: Sequence[Figures]) -> str:
    loads = sorted(one.load for one in several if one.load is not None)
    if not loads:
        return "unknown"
    low, high = f"{loads[0]:.1f}".removesuffix(".0"), f"{loads[-1]:.1f}".removesuffix(".0")
    return low if low == high else f"{low}-{high}"


def _band(ratios: Sequence[float]) -> tuple[float, float]:
    ordered = sorted(ratios)

    def quantile(part: float) -> float:
        place = part * (len(ordered) - 1)
        low = int(place)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (ordered[high] - ordered[low]) * (place - low)

    return quantile(BAND[0]), quantile(BAND[1])
