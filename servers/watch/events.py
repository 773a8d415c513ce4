"""Events of a watched server, and the alerts: each says what happened and what to do, once an hour at most."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from spectui.servers.watch.figures import Figures, added
from spectui.servers.watch.payoff import LEAST_ROUNDS, Payoff, like

HOUR_S = 3600.0
RECENT = 5
"""Minutes whose mean is held against those before."""
EARLIER = 15
"""Minutes before them that a comparison needs."""
LONG = 15
"""Minutes for which speculation has to cost more than it brings."""

SIGNS = {
    "watching": "●",
    "silent": "○",
    "back": "●",
    "restart": "↻",
    "compared": "↻",
    "mixed": "○",
    "clock": "○",
    "fell": "▼",
    "useless": "▲",
    "costs": "▲",
}
"""Kind of an event -> the sign before it. ▲ asks for something to be done, ▼ is worse than before."""
ALERTS = frozenset(("fell", "useless", "costs"))


@dataclass(frozen=True)
class Event:
    """A thing that happened to a server."""

    at: float
    kind: str
    text: str

    @property
    def sign(self) -> str:
        """The sign before it."""
        return SIGNS.get(self.kind, "●")

    @property
    def alert(self) -> bool:
        """True for what somebody should look at."""
        return self.kind in ALERTS


class Alerts:
    """Looks at the minutes of a server when it is `due`, once a minute; says each thing once an hour."""

    def __init__(self) -> None:
        self._shown_at: dict[str, float] = {}
        self._looked = 0.0

    def due(self, now: float) -> bool:
        """True a minute after the last look."""
        return now - self._looked >= 60.0

    def look(
        self, now: float, minutes: Sequence[Figures], everything: Figures | None, long_payoff: Payoff | None
    ) -> list[Event]:
        """The alerts that are due. `everything` is of the present segment, `long_payoff` of its last minutes."""
        self._looked = now
        due = []
        for key, kind, text in (
            *_fell(minutes),
            *_useless(everything),
            *_costs(long_payoff, minutes),
        ):
            if now - self._shown_at.get(key, -HOUR_S) >= HOUR_S:
                self._shown_at[key] = now
                due.append(Event(now, kind, text))
        return due


Finding = tuple[str, str, str]
"""A key that is the same for the same alert, its kind, its words."""


def _fell(minutes: Sequence[Figures]) -> Iterator[Finding]:
    recent = added(list(minutes[-RECENT:]))
    if recent is None or (recent.rounds or 0) < LEAST_ROUNDS:
        return
    earlier = [one for one in minutes[-60 - RECENT : -RECENT] if like(one.load, recent.load)]
    lengths = [
        value for one in earlier if (one.rounds or 0) >= 20 and (value := one.tokens_per_round) is not None
    ]
    now = recent.tokens_per_round
    if now is None or len(lengths) < EARLIER or now >= min(lengths):
        return
    mean = added(earlier)
    before = None if mean is None else mean.tokens_per_round
    if before is None:
        return
    changed = ""
    if mean is not None and _moved(_prompt(mean), _prompt(recent)):
        changed = "; prompts have another length: has the traffic changed?"
    yield (
        "fell",
        "fell",
        f"τ fell {before:.2f} → {now:.2f}, below each of the {len(lengths)} minutes before{changed}",
    )


def _prompt(figures: Figures) -> float | None:
    if figures.prompt_tokens is None or not figures.first_tokens:
        return None
    return figures.prompt_tokens / figures.first_tokens


def _moved(before: float | None, after: float | None) -> bool:
    return before is not None and after is not None and abs(after - before) > 0.3 * max(before, after)


def _useless(figures: Figures | None) -> Iterator[Finding]:
    """Positions that are drafted and never accepted; where drafts end early the count tells nothing."""
    if figures is None or not figures.drafts or figures.drafts < LEAST_ROUNDS:
        return
    counts = figures.by_position
    if not counts or figures.per_draft is None or figures.per_draft < len(counts) - 0.01:
        return
    first = next((place for place, count in enumerate(counts) if count == 0), None)
    if first is None:
        return
    bound = 3 / figures.drafts
    advice = f"try k {first}" if first else "switch speculation off"
    yield (
        f"useless {first}",
        "useless",
        f"position {first + 1} never accepted in {figures.drafts:,.0f} rounds (< {bound:.1%}): {advice}",
    )


def _costs(result: Payoff | None, minutes: Sequence[Figures]) -> Iterator[Finding]:
    if result is None or result.verdict != "NO" or result.band is None or len(minutes) < LONG:
        return
    loads = [one.load for one in minutes[-LONG:] if one.load is not None]
    at = f" at {min(loads):.0f}-{max(loads):.0f} running" if loads else ""
    yield (
        "costs",
        "costs",
        f"costs more than it brings: {result.speedup:.2f}× for {LONG} min{at}: lower k or switch it off at this load",
    )
