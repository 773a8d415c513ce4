"""The one place where every metric is defined: pure functions of counts, used by all that shows a number.

Terms: a node is *at risk* when its parent was accepted (the root always is) and the path was not cut
at that parent; a round is at risk at depth d when it has a node at risk there, and it *reached* d when
its accepted path is at least d long. None stands for "no data", never for zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar


@dataclass(frozen=True)
class Interval:
    """A mean over prompts, or a ratio of sums, with its 95 % interval."""

    value: float
    low: float
    high: float
    prompts: int
    """Prompts with data, at least 2."""

    @property
    def half_width(self) -> float:
        """The distance from the value to the farther end, for "1.42 +- 0.08"; ends are cut to possible values."""
        return max(self.high - self.value, self.value - self.low)


Value = TypeVar("Value", covariant=True)


class Metric(Generic[Value]):
    """A property of rows: a metric of some of their columns."""

    def __init__(self, metric: Callable[..., Value], *columns: str) -> None:
        self._metric = metric
        self._columns = columns

    def __get__(self, row: object, _: type | None = None) -> Value:
        return self._metric(*[getattr(row, name) for name in self._columns])


RATIOS: dict[str, tuple[str, str]] = {
    "match_rate": ("match_count", "node_count - unjudged_count"),
    "accepted_at_risk": ("accepted_count", "at_risk_count"),
    "mean_overlap": ("overlap_sum", "overlap_count"),
    "mean_accepted_length": ("accepted_count", "round_count"),
    "tokens_per_round": ("token_count", "round_count"),
}
"""Ratios of two sums over prompts: name -> (numerator, denominator), in SQL, of columns of `generation`."""


def ratio(part: float, whole: float) -> float | None:
    """`part / whole`, None when there is no data."""
    return part / whole if whole else None


CUTS_SQL = """
    SELECT generation.task, round.accepted_length, count(*)
    FROM generation CROSS JOIN round INDEXED BY round_cut ON round.generation_id = generation.id
    WHERE {which} AND round.cut IS NOT NULL GROUP BY 1, 2
"""
"""Rounds whose path was cut, by task and accepted length, of the prompts that a condition `which` names."""

OVERLAP_SQL = """
    CASE WHEN node.draft_p IS NULL THEN NULL
         WHEN node.draft_p <= node.target_p THEN 1.0
         ELSE node.target_p / node.draft_p END
"""
"""`overlap` of a row of `node`."""

AT_RISK_SQL = """
    ((node.parent IS NULL OR parent.accepted) AND (round.cut IS NULL OR node.depth <= round.accepted_length))
"""
"""`at_risk` of a row of `node` joined to its `parent` and its `round`."""


def overlap(target_p: float | None, draft_p: float | None) -> float | None:
    """``min(1, p / q)``: how likely speculative sampling accepts a token that is its parent's one, drawn child.

    None without either.
    """
    if draft_p is None or target_p is None:
        return None
    if draft_p > target_p:
        return target_p / draft_p
    return 1.0 if draft_p <= target_p else None  # neither for NaN


def at_risk(parent_accepted: bool, depth: int, accepted_length: int, cut: str | None) -> bool:
    """True when a node had its chance: its parent was accepted and the path was not cut at that parent."""
    return parent_accepted and (cut is None or depth <= accepted_length)


def at_risk_columns(on_path: Any, depth: Any, accepted_length: Any, is_cut: Any) -> Any:
    """`at_risk` of many nodes at once: numpy arrays of one shape, booleans but for the lengths."""
    return on_path & (~is_cut | (depth <= accepted_length))


def match_rate(match_count: int, node_count: int, unjudged_count: int = 0) -> float | None:
    """Share of nodes that are the target's argmax at their parent, of those of which that is known."""
    return ratio(match_count, node_count - unjudged_count)


def mean_overlap(overlap_sum: float, overlap_count: int) -> float | None:
    """Mean of `overlap` over the nodes whose drafter has probabilities."""
    return ratio(overlap_sum, overlap_count)


def accepted_at_risk(accepted_count: int, at_risk_count: int) -> float | None:
    """Share of the nodes at risk that were accepted."""
    return ratio(accepted_count, at_risk_count)


def mean_accepted_length(accepted_count: float, round_count: float) -> float | None:
    """Accepted draft tokens per round, measured."""
    return ratio(accepted_count, round_count)


def tokens_per_round(token_count: int, round_count: int) -> float | None:
    """Tau: emitted tokens per round, bonus tokens included."""
    return ratio(token_count, round_count)


def hazard(rounds_reached: int, rounds_at_risk: int) -> float | None:
    """h_d: among rounds at risk at depth d, the share whose path goes on to d."""
    return ratio(rounds_reached, rounds_at_risk)


def reached(rounds_reached: int, rounds: int, rounds_cut_before: int) -> float | None:
    """S_d, survival: the share of rounds whose path reached depth d, of those that were not cut before d.

    Rounds whose tree ended before count as what they are, rounds that did not get there: a tree that is grown where
    the draft is sure ends where it expects to be rejected.
    """
    return ratio(rounds_reached, rounds - rounds_cut_before)


def expected_length(survivals: Sequence[float]) -> float:
    """Expected accepted length from the survival curve; equals the measured mean where no path was cut."""
    return math.fsum(survivals)


def ratio_range(metric: str, depth: int) -> tuple[float, float]:
    """The possible values of a metric of `RATIOS`, with trees of at most so many levels."""
    if metric == "tokens_per_round":  # the accepted ones and the target's own
        return (1.0, depth + 1.0)
    return (0.0, float(depth) if metric == "mean_accepted_length" else 1.0)


def total_ms(draft_ms: float | None, verify_ms: float | None, other_ms: float | None) -> float:
    """Decoding time of some rounds, as far as it is known."""
    return (draft_ms or 0.0) + (verify_ms or 0.0) + (other_ms or 0.0)


def total_ms_sql(table: str) -> str:
    """`total_ms` of a row of a table or an alias of one."""
    return f"({' + '.join(f'coalesce({table}.{name}, 0)' for name in ('draft_ms', 'verify_ms', 'other_ms'))})"


def chain_expected_length(alpha: float, shares: Sequence[float]) -> float:
    """The chain formula of the study (arXiv 2604.14682), ``alpha + alpha^2 + ...``, to the depth of each round's tree.

    `shares` are those of rounds whose tree reaches depth 1, 2, ...; of one static tree all are 1.
    """
    return math.fsum(share * alpha**d for d, share in enumerate(shares, start=1))


def tokens_per_second(token_count: float, total_ms: float) -> float | None:
    """Emitted tokens per second of decoding time (draft + verify + other)."""
    return ratio(token_count * 1000.0, total_ms)


def speedup(token_count: int, total_ms: float, baseline_ms: float | None) -> float | None:
    """Speed over one-at-a-time decoding, whose cost is `baseline_ms` a token; None without either."""
    rate = tokens_per_second(token_count, total_ms)
    return None if rate is None or baseline_ms is None else rate * baseline_ms / 1000.0


def seconds_per_million(token_count: int, total_ms: float) -> float | None:
    """Seconds that the device decodes for a million tokens (draft + verify + other)."""
    return ratio(total_ms * 1000.0, token_count)


def price_per_million(seconds: float | None, price: float | None) -> float | None:
    """The price of a million tokens, at `price` for an hour of the device; None without either."""
    return None if seconds is None or price is None else seconds * price / 3600.0


def joules_per_million(seconds: float | None, watts: float | None) -> float | None:
    """Energy of a million tokens at a mean power; None without either."""
    return None if seconds is None or watts is None else seconds * watts
