"""Advice on the length of drafts of a session that a server decoded: tokens and costs by length, as far as known.

A server tells how far drafts were accepted, and no more: shorter drafts are the same ones cut off, longer ones are not
known. Their tokens are those of rounds that begin where these began.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spectui.decoding.errors import DecodingError
from spectui.store.analysis.resampling import SHARE
from spectui.store.counts.intervals import Pair, pair, ratio_interval
from spectui.store.counts.metrics import ratio_range
from spectui.store.reading.columns import Bools, Floats, Ints
from spectui.store.reading.reader import Reader
from spectui.store.rows import SessionSummary

FEWEST_ROUNDS = 5
"""Rounds of one length from which on their time is taken for that of the length."""
EVERY = "all"

_ROUNDS = """
    SELECT generation.id, generation.task, round.node_count, round.accepted_length,
        coalesce(round.draft_ms, 0) + coalesce(round.verify_ms, 0) + round.other_ms,
        round.bonus_token_id IS NOT NULL
    FROM generation CROSS JOIN round ON round.generation_id = generation.id
    WHERE generation.session_id = ? AND (generation.status = 'finished' OR ?)
    ORDER BY generation.position
"""


@dataclass(frozen=True)
class Length:
    """Drafts of one length."""

    drafted: int
    tokens: float
    """Tokens a round: the target's own, and the accepted ones of a draft of this length."""
    tokens_ci: Pair | None
    reached: float
    """The share of rounds with a draft that accept its last token."""
    reached_ci: Pair | None
    speedup: Pair | None
    """Times as fast as plain decoding, at least and at most; None where costs are not known."""

    @property
    def measured(self) -> bool:
        """True where the cost of such a round was measured, not bounded."""
        return self.speedup is not None and self.speedup[0] == self.speedup[1]


@dataclass(frozen=True)
class TaskLengths:
    """The lengths for one task, or all."""

    task: str
    prompts: int
    drafting: float
    """The share of rounds that had a draft."""
    lengths: tuple[Length, ...]

    @property
    def used(self) -> Length:
        """The longest drafts of the run."""
        return self.lengths[-1]


@dataclass(frozen=True)
class LengthAdvice:
    """The advice on one session."""

    summary: SessionSummary
    tasks: tuple[TaskLengths, ...]
    """The last one is all, where there are several."""
    plain_ms: float | None
    """Milliseconds of a token without speculation; None where nothing tells."""
    plain_from: str
    """The source of `plain_ms`, in words; or the reason that there is none."""
    round_ms: dict[int, float]
    """Length -> milliseconds of a round of it, measured."""

    @property
    def all(self) -> TaskLengths:
        """All prompts together."""
        return self.tasks[-1]


@dataclass(frozen=True)
class _Rounds:
    """Columns ``[R]``."""

    prompt: Ints
    task: tuple[str, ...]
    """``[P]``"""
    drafted: Ints
    accepted: Ints
    ms: Floats
    """NaN where it is not known."""
    bonus: Bools
    """True where the target's own token was emitted, too: not at the end of an output that ended before it."""


def advise_length(reader: Reader, ref: int | str) -> LengthAdvice:
    """Weigh the lengths of drafts on a session. Raises `StoreError` without one, `DecodingError` without drafts."""
    with reader.snapshot():
        summary = reader.session(ref)
        rounds = _read(reader, summary)
    if not (rounds.drafted > 0).any():
        what = "drafted nothing" if len(rounds.drafted) else "has no rounds"
        raise DecodingError(
            f"session '{summary.name}' {what}: there is nothing to advise on; a server that drafts has speculation"
            " switched on when it starts"
        )
    round_ms = _times(rounds)
    plain_ms, plain_from = _plain(summary, round_ms)
    names = list(dict.fromkeys(rounds.task))
    groups = [(name, np.array([task == name for task in rounds.task])) for name in names]
    if len(names) > 1:
        groups.append((EVERY, np.ones(len(rounds.task), np.bool_)))
    tasks = tuple(
        _of_task(name, chosen, rounds, names, plain_ms, round_ms)
        for name, chosen in groups
        if (rounds.drafted[chosen[rounds.prompt]] > 0).any()
    )
    return LengthAdvice(summary, tasks, plain_ms, plain_from, round_ms)


def _read(reader: Reader, summary: SessionSummary) -> _Rounds:
    rows = [row for chunk in reader.scan(_ROUNDS, summary.id, 0, chunk=10_000) for row in chunk]
    if not rows:  # none has finished: those that are under way
        rows = [row for chunk in reader.scan(_ROUNDS, summary.id, 1, chunk=10_000) for row in chunk]
    places: dict[int, int] = {}
    tasks = []
    for generation, task, *_ in rows:
        if generation not in places:
            places[generation] = len(places)
            tasks.append(task)
    return _Rounds(
        np.array([places[row[0]] for row in rows], dtype=np.int64),
        tuple(tasks),
        np.array([row[2] for row in rows], dtype=np.int64),
        np.array([row[3] for row in rows], dtype=np.int64),
        np.array([np.nan if row[4] is None else row[4] for row in rows], dtype=np.float64),
        np.array([row[5] for row in rows], dtype=np.bool_),
    )


def _times(rounds: _Rounds) -> dict[int, float]:
    """The mean time of rounds by the length of their draft, where there are enough."""
    times = {}
    for length in np.unique(rounds.drafted).tolist():
        known = rounds.ms[(rounds.drafted == length) & np.isfinite(rounds.ms)]
        if len(known) >= FEWEST_ROUNDS and known.mean() > 0:
            times[int(length)] = float(known.mean())
    return times


def _plain(summary: SessionSummary, round_ms: dict[int, float]) -> tuple[float | None, str]:
    if summary.baseline_ms is not None:
        where = summary.server.baseline_url if summary.server is not None else ""
        return summary.baseline_ms, f"measured on {where}" if where else "measured in the run"
    if 0 in round_ms:
        return round_ms[0], "that of this run's rounds without a draft"
    if summary.of_clients:
        return None, "not known here: spectui watch URL --baseline-server URL finds it under your own traffic"
    return None, "not known: run again with --baseline-server URL, the same server without speculation"


def _of_task(
    name: str,
    chosen: Bools,
    rounds: _Rounds,
    names: list[str],
    plain_ms: float | None,
    round_ms: dict[int, float],
) -> TaskLengths:
    of_task = chosen[rounds.prompt]
    place = np.cumsum(chosen) - 1
    prompt, accepted = place[rounds.prompt[of_task]], rounds.accepted[of_task]
    drafted, bonus = rounds.drafted[of_task], rounds.bonus[of_task]
    prompts = int(chosen.sum())
    task = np.array([names.index(each) for each, taken in zip(rounds.task, chosen, strict=True) if taken])

    def per_prompt(values: Bools | Ints) -> Floats:
        return np.bincount(prompt, values, prompts).astype(np.float64)

    every, drafting = per_prompt(np.ones(len(prompt), np.int64)), per_prompt(drafted > 0)
    share = float(drafting.sum() / every.sum())
    costs = {} if plain_ms is None else {length: ms / plain_ms for length, ms in round_ms.items() if length}
    lengths = []
    for length in range(1, int(rounds.drafted.max()) + 1):
        # A draft cut off behind an accepted token is followed by the target's own, which is the next of the longer one.
        emitted = per_prompt(np.minimum(accepted, length) + (bonus | (accepted > length)))
        reached = per_prompt(accepted >= length)
        tokens = float(emitted.sum() / every.sum())
        lengths.append(
            Length(
                length,
                tokens,
                pair(ratio_interval(emitted, every, ratio_range("tokens_per_round", length), task)),
                float(reached.sum() / drafting.sum()),
                pair(ratio_interval(reached, drafting, SHARE, task)),
                _speedup(length, tokens, share, costs),
            )
        )
    return TaskLengths(name, prompts, share, tuple(lengths))


def _speedup(length: int, tokens: float, share: float, costs: dict[int, float]) -> Pair | None:
    """Tokens a round over its cost in plain steps; rounds without a draft cost one.

    Of a length that was not timed, a round costs at most what a longer one does, and at least its part of what that
    one costs beyond a plain step, as if nothing of it were the same for every draft.
    """
    longer = [other for other in costs if other >= length]
    if not longer:
        return None
    nearest = min(longer)
    most = costs[nearest]
    shorter = max((other for other in costs if other < length), default=0)
    base = costs.get(shorter, 1.0)
    least = base + (most - base) * (length - shorter) / (nearest - shorter)
    ends = [tokens / (1 + share * (cost - 1)) for cost in (max(most, least), min(most, least))]
    return (ends[0], ends[1])
