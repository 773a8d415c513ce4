"""The replica as a factor: whether prompts came out otherwise by who decoded them, which they should not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from spectui.store.analysis.counts import Counts, Ratio
from spectui.store.analysis.nulls import tasks_p
from spectui.store.analysis.resampling import RESAMPLES, SEED
from spectui.store.reading.columns import Floats, Ints
from spectui.store.reading.replicas import ReplicaRow

FEWEST = 2
"""Prompts of a replica from which on it takes part in the test."""


@dataclass(frozen=True)
class ReplicaPart:
    """The prompts that one replica decoded."""

    number: int
    """0: the session's own worker."""
    name: str
    """``node-7 cuda:0``."""
    prompts: int
    match_rate: float | None
    accepted_length: float | None
    """Means over prompts."""


@dataclass(frozen=True)
class ReplicaFactor:
    """Each replica's part, and the chance that parts differ as much where the replica means nothing.

    Prompts are dealt anew to the replicas, as many to each as it had, after the mean of its task is taken off each: who
    is free takes the next prompt, so that replicas may have had tasks in unlike shares.
    """

    parts: tuple[ReplicaPart, ...]
    match_p: float | None
    """None with fewer than two replicas of two prompts."""
    length_p: float | None


def replica_factor(counts: Counts, replicas: Sequence[ReplicaRow]) -> ReplicaFactor | None:
    """The factor of a session that several replicas decoded; None of any other."""
    owners = [prompt.replica_id or 0 for prompt in counts.data.prompts]
    if len(set(owners)) < 2:
        return None
    rows = {row.id: row for row in replicas}
    codes = np.array(owners, dtype=np.int64)
    match, length = counts.alphas["match"], counts.lengths["accepted_length"]
    parts = [_part(rows.get(owner), codes == owner, match, length) for owner in sorted(set(owners))]
    return ReplicaFactor(
        tuple(parts),
        _p(match, _match_error(match), counts.task, codes),
        _p(length, _length_error(counts), counts.task, codes),
    )


def _part(row: ReplicaRow | None, chosen: np.ndarray, match: Ratio, length: Ratio) -> ReplicaPart:
    name = "the session's worker" if row is None else f"{row.host} {row.device}".strip()
    means = [_mean(each.per_prompt[chosen]) for each in (match, length)]
    return ReplicaPart(0 if row is None else row.number, name, int(chosen.sum()), *means)


def _mean(values: Floats) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None


def _match_error(match: Ratio) -> Floats:
    whole = match.figure().value
    share = whole if whole is not None and np.isfinite(whole) else 0.5
    return np.asarray(share * (1 - share) / np.maximum(match.bottom, 1.0), dtype=np.float64)


def _length_error(counts: Counts) -> Floats:
    lengths = counts.data.accepted_length.astype(np.float64)
    spread = float(lengths.var()) if len(lengths) else 0.0
    return np.asarray(spread / np.maximum(counts.rounds, 1.0), dtype=np.float64)


def _p(ratio: Ratio, error: Floats, task: Ints, owner: Ints) -> float | None:
    values = ratio.per_prompt.copy()
    for each in np.unique(task):
        of_task = task == each
        known = values[of_task & np.isfinite(values)]
        values[of_task] -= known.mean() if len(known) else 0.0
    taken = np.isin(owner, [each for each in np.unique(owner) if _prompts(values, owner == each) >= FEWEST])
    if len(np.unique(owner[taken])) < 2:
        return None
    return tasks_p(values[taken], error[taken], owner[taken], RESAMPLES, np.random.default_rng(SEED + 1))


def _prompts(values: Floats, chosen: np.ndarray) -> int:
    return int(np.isfinite(values[chosen]).sum())
