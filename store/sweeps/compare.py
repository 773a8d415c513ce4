"""`spectui compare --sweep`: the fastest drafter and tree of each task, and those that no other beats in everything.

Sessions of one task and temperature ran the same prompts, so that their speeds are compared prompt by prompt. They ran
at other times: where plain decoding was measured during each, the pace of the machine is taken out, and what is not
known of it is in the interval.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from spectui.store.counts.intervals import (
    Error,
    Figure,
    Pair,
    ends,
    pair,
    ratio_of,
    standard_error,
)
from spectui.store.counts.metrics import Interval
from spectui.store.device_class import read_class
from spectui.store.reading.columns import Floats
from spectui.store.reading.reader import Reader
from spectui.store.rows import SessionSummary
from spectui.store.sweeps.cells import Cell, Sweep, sweep_named

_MACHINES = """
    SELECT id, coalesce(nullif(machine, ''), (SELECT machine FROM replica WHERE session_id = session.id), '')
    FROM session WHERE sweep_id = ?
"""
MOST_APART = 10.0
"""Ends of the interval of a ratio that are further apart than by this factor say nothing."""
NORMAL_95 = 1.96
"""Standard errors from the middle of a 95 % interval to its ends."""
Key = tuple[str, int]
"""A prompt's text, and the number of it among prompts of that text."""
Sums = tuple[float, float, float, float]
"""Tokens, rounds, accepted draft tokens, and milliseconds of a prompt."""


@dataclass(frozen=True)
class Candidate:
    """One drafter with one tree, on the prompts of one task. Intervals are 95 %; None stands for unknown."""

    cell: Cell
    session: SessionSummary
    prompts: int
    """That finished."""
    tokens_per_round: float | None
    tokens_per_round_ci: Pair | None
    accepted_length: float | None
    tokens_per_second: float | None
    speedup: float | None
    """Over plain decoding, with its interval by the measurements of that during the session."""
    speedup_ci: Pair | None
    over_best: float | None = None
    """Its speed over that of the best, prompt by prompt."""
    over_best_ci: Pair | None = None
    pairs: int = 0
    """Prompts that both finished."""
    best: bool = False
    front: bool = False
    """True where no other is as fast and accepts as much, and more of one: Pareto's front."""

    @property
    def told_apart(self) -> bool:
        """True where the interval says that it is slower than the best."""
        return self.over_best_ci is not None and self.over_best_ci[1] < 1.0


@dataclass(frozen=True)
class Contest:
    """The candidates for one task at one temperature on one class of device, the fastest first."""

    task: str
    temperature: float
    device: str
    over_plain: bool
    """True where speeds are those over plain decoding; else tokens per second, with the drift of the machine."""
    candidates: tuple[Candidate, ...]

    @property
    def best(self) -> Candidate:
        """The fastest."""
        return self.candidates[0]

    @property
    def alike(self) -> list[Candidate]:
        """The others that are not told apart from the fastest."""
        return [each for each in self.candidates[1:] if not each.told_apart]

    def speed(self, candidate: Candidate) -> float:
        """The speed that they are compared by."""
        return (candidate.speedup if self.over_plain else candidate.tokens_per_second) or 0.0


@dataclass(frozen=True)
class SweepComparison:
    """The contests of a sweep."""

    sweep: Sweep
    contests: tuple[Contest, ...]
    notes: dict[str, str]
    """Omissions and cautions -> the reason."""


class _Entry(NamedTuple):
    """A session as it is compared."""

    summary: SessionSummary
    prompts: dict[Key, Sums]
    per_round: Interval | None
    """Of tokens per round."""


def compare_sweep(reader: Reader, name: str) -> SweepComparison:
    """Compare the sessions of a sweep. Raises `StoreError` when there is none of that name."""
    with reader.snapshot():
        sweep = sweep_named(reader, name)
        machines = dict(reader.fetch(_MACHINES, sweep.id))
        entries = {
            cell: _Entry(
                reader.session(session),
                _prompts(reader, session),
                reader.intervals(session, "tokens_per_round").get(cell.task),
            )
            for cell, session in sweep.sessions.items()
        }
    groups: dict[tuple[str, float, str], dict[Cell, _Entry]] = {}
    for cell in sweep.cells:
        if cell in entries and entries[cell].prompts:
            group = (cell.task, cell.temperature, machines[sweep.sessions[cell]])
            groups.setdefault(group, {})[cell] = entries[cell]
    contests = tuple(
        _contest(task, temperature, read_class(machine).words, group)
        for (task, temperature, machine), group in groups.items()
    )
    return SweepComparison(sweep, contests, _notes(sweep, entries, contests))


def _notes(
    sweep: Sweep,
    entries: Mapping[Cell, _Entry],
    contests: Sequence[Contest],
) -> dict[str, str]:
    notes = {}
    missing = [cell for cell in sweep.cells if cell not in sweep.done]
    if missing:
        notes[f"{len(missing)} of {len(sweep.cells)} sessions"] = (
            "not run to their end yet, and compared as far as they are; go on with: spectui sweep FILE"
        )
    failed = sum(entry.summary.prompts_failed for entry in entries.values())
    if failed:
        notes["failed prompts"] = f"{failed}, left out"
    if any(not contest.over_plain for contest in contests):
        notes["speed"] = (
            "plain decoding was measured too seldom in some sessions to compare with it: there, tokens per second are "
            "compared, and a machine that was slower during one session makes that one slower"
        )
    if len({contest.device for contest in contests}) > 1:
        notes["devices"] = "sessions on unlike devices are not compared with each other"
    intervals = sum(each.over_best_ci is not None for contest in contests for each in contest.candidates)
    if intervals:
        notes["chance"] = (
            f"of {intervals} intervals of a ratio about {round(intervals / 20)} leave out 1 by chance alone, and the "
            "best of many looks better than it is: run the first two again on other prompts before a claim"
        )
    return notes


def _prompts(reader: Reader, session_id: int) -> dict[Key, Sums]:
    """The finished prompts of a session."""
    seen: Counter[str] = Counter()
    prompts: dict[Key, Sums] = {}
    for row in reader.generations(session_id, outputs=False):
        seen[row.prompt_text] += 1
        if row.status == "finished" and row.round_count:
            prompts[row.prompt_text, seen[row.prompt_text]] = (
                row.token_count,
                row.round_count,
                row.accepted_count,
                row.total_ms,
            )
    return prompts


def _contest(task: str, temperature: float, device: str, group: Mapping[Cell, _Entry]) -> Contest:
    candidates = [_candidate(cell, *entry) for cell, entry in group.items()]
    over_plain = all(each.speedup is not None for each in candidates)
    contest = Contest(task, temperature, device, over_plain, tuple(candidates))
    ordered = sorted(candidates, key=contest.speed, reverse=True)
    best = ordered[0]
    judged = [
        replace(
            each
            if each is best
            else _against(each, best, group[each.cell].prompts, group[best.cell].prompts, over_plain),
            best=each is best,
            front=not any(_beats(other, each, contest) for other in ordered),
        )
        for each in ordered
    ]
    return replace(contest, candidates=tuple(judged))


def _candidate(
    cell: Cell, summary: SessionSummary, prompts: Mapping[Key, Sums], per_round: Interval | None
) -> Candidate:
    tokens, rounds, accepted, ms = np.array(list(prompts.values()), dtype=np.float64).T
    return Candidate(
        cell,
        summary,
        len(prompts),
        ratio_of(tokens, rounds).value,
        pair(per_round),
        ratio_of(accepted, rounds).value,
        None if not ms.sum() else float(1000.0 * tokens.sum() / ms.sum()),
        summary.speedup,
        summary.speedup_range,
    )


def _beats(other: Candidate, one: Candidate, contest: Contest) -> bool:
    """True where `other` is as good in speed and acceptance, and better in one."""
    others = contest.speed(other), other.tokens_per_round or 0.0
    ones = contest.speed(one), one.tokens_per_round or 0.0
    return others != ones and all(a >= b for a, b in zip(others, ones, strict=True))


def _against(
    one: Candidate,
    best: Candidate,
    prompts: Mapping[Key, Sums],
    of_best: Mapping[Key, Sums],
    over_plain: bool,
) -> Candidate:
    """`one` with its speed over that of the best, over the prompts that both finished."""
    common = [key for key in prompts if key in of_best]
    if not common:
        return one
    of_one, of_other = (_log_speed([side[key] for key in common]) for side in (prompts, of_best))
    if of_one.value is None or of_other.value is None:
        return one
    difference = of_one.value - of_other.value
    assert of_one.size is not None
    assert of_other.size is not None
    paired = Figure(difference, of_one.moved - of_other.moved, of_one.size + of_other.size)
    errors = [standard_error(paired)]
    if over_plain:
        for side, sign in ((one.session, 1.0), (best.session, -1.0)):
            assert side.plain_ms is not None
            difference += sign * math.log(side.plain_ms)
            errors.append(_pace_error(side))
    return replace(
        one,
        over_best=math.exp(difference),
        over_best_ci=_interval(difference, errors),
        pairs=len(common),
    )


def _log_speed(prompts: Sequence[Sums]) -> Figure:
    """The logarithm of tokens per millisecond over some prompts."""
    tokens, _, _, ms = np.array(prompts, dtype=np.float64).T
    speed = ratio_of(tokens, ms)
    if not speed.value:
        return Figure(None, speed.moved)
    moved: Floats = speed.moved / speed.value
    return Figure(math.log(speed.value), moved, speed.size)


def _pace_error(session: SessionSummary) -> Error | None:
    """The standard error of the logarithm of a session's pace of plain decoding."""
    low, high = session.baseline_low_ms, session.baseline_high_ms
    if not low or not high or session.baseline_count < 2:
        return None
    return Error(math.log(high / low) / (2 * NORMAL_95), session.baseline_count - 1.0)


def _interval(difference: float, errors: Sequence[Error | None]) -> Pair | None:
    """The interval of a ratio, given its logarithm and independent errors of that; None where one is not known,
    and where it says nothing."""
    known = [each for each in errors if each is not None]
    variance = sum(each.size**2 for each in known)
    if len(known) < len(errors) or not variance:
        return None
    freedom = variance**2 / sum(each.size**4 / each.freedom for each in known)
    low, high = ends(difference, Error(math.sqrt(variance), max(freedom, 1.0)))
    return (math.exp(low), math.exp(high)) if high - low <= math.log(MOST_APART) else None
