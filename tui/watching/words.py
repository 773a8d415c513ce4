"""Figures of a watched server in words."""

from __future__ import annotations

from datetime import datetime

from spectui.servers.watch.payoff import Payoff
from spectui.servers.watch.server import View
from spectui.tui.terminal.cells import NOTHING, duration

VERDICT_ROLES = {"YES": "good", "NO": "bad", "EVEN": "warning", "?": "strong"}
STATE_SIGNS = {
    "asking": ("○", "muted"),
    "live": ("●", "good"),
    "idle": ("●", "muted"),
    "plain": ("■", "muted"),
    "undrafted": ("■", "muted"),
    "silent": ("○", "bad"),
    "foreign": ("○", "bad"),
    "mixed": ("○", "warning"),
}
"""State of a server -> its sign and role."""


def ms(value: float | None, digits: int = 1) -> str:
    """Milliseconds: ``19.0 ms``."""
    return NOTHING if value is None else f"{value:,.{digits}f} ms"


def times(value: float | None) -> str:
    """A ratio: ``1.32×``."""
    return NOTHING if value is None else f"{value:.2f}×"


def clock(at: float) -> str:
    """The time of day here: ``22:41:07``."""
    return datetime.fromtimestamp(at).strftime("%H:%M:%S")


def plain_words(result: Payoff) -> str:
    """``plain: gpu7:8001, 1-4 running``: where and under what load plain decoding was seen."""
    if result.loads is None:
        return f"plain: {result.plain_source}"
    low, high = (max(round(load), 1) for load in result.loads)
    return f"plain: {result.plain_source}, {low}{f'-{high}' if high != low else ''} running"


def verdict(result: Payoff) -> str:
    """``YES  1.32× plain``; the verdict alone where nothing is compared."""
    return result.verdict if result.speedup is None else f"{result.verdict}  {times(result.speedup)} plain"


def pay_words(view: View) -> list[str]:
    """The answer in up to four lines, each in parts of which the first ones matter most, joined by two spaces."""
    result = view.payoff
    if view.plain:
        token = f"{ms(result.ms_per_token)} a token" if result.ms_per_token is not None else "no token yet"
        return [token, "this server does not speculate: its time can be the plain of others"]
    if result.verdict == "?":
        lines = [result.why or view.words]
    else:
        lines = [f"{ms(result.ms_per_token)} a token; plain {ms(result.plain_ms)}"]
    rounds = []
    if result.band is not None:
        rounds.append(f"minutes {result.band[0]:.2f}-{result.band[1]:.2f}")
    if result.ms_per_round is not None and result.tokens_per_round is not None:
        rounds.append(f"a round: {ms(result.ms_per_round)}, brings {result.tokens_per_round:.2f} tokens")
    if result.pays_below_ms is not None:
        rounds.append(f"pays below {ms(result.pays_below_ms, 0)}")
    source = plain_words(result) if result.speedup is not None else ""
    return [*lines, *filter(None, ("  ".join(rounds), source, draft_words(view)))]


def draft_words(view: View) -> str:
    """``38 % of drafted tokens accepted · 138 a second thrown away``, and the share of rounds that draft."""
    figures = view.shown
    if figures is None or view.plain:
        return ""
    parts = []
    if figures.drafting is not None and figures.drafting < 0.9:
        sign = "~" if figures.engine == "llama.cpp" else ""
        parts.append(f"only {sign}{figures.drafting:.0%} of rounds draft".replace("%", " %"))
    if figures.accepted_share is not None:
        base = "~" if figures.drafted is None else ""
        parts.append(f"{base}{figures.accepted_share * 100:.0f} % of drafted tokens accepted")
        if figures.thrown_per_second is not None:
            parts.append(f"{figures.thrown_per_second:,.0f} a second thrown away")
    return " · ".join(parts)


def basis(view: View) -> str:
    """The stretch and the number of rounds that the answer rests on."""
    result = view.payoff
    rounds = f"{result.rounds:,.0f} rounds" if result.rounds else ""
    stretch = WINDOW_WORDS.get(view.basis, view.basis)
    return " · ".join(part for part in (stretch, rounds) if part)


WINDOW_WORDS = {
    "30 s": "last 30 s",
    "5 min": "last 5 busy min",
    "1 h": "last busy hour",
    "segment": "since the restart, or since we watch",
}


def server_words(view: View) -> list[str]:
    """Facts of the server for a header."""
    parts = [f"{view.engine} {view.about.version}".strip(), view.model, view.about.drafter]
    if view.depth:
        parts.append(f"k {view.depth}")
    if view.up_seconds is not None:
        parts.append(f"up {duration(view.up_seconds)}")
    return [part for part in parts if part]
