"""The replicas of a session with the prompts that they have and had: the rows of their pane."""

from __future__ import annotations

from dataclasses import dataclass

from spectui.store.clock import seconds_since
from spectui.store.counts.metrics import tokens_per_second
from spectui.store.reading.replicas import ReplicaRow
from spectui.store.rows import GenerationRow
from spectui.tui.model.progress import DONE
from spectui.tui.model.state import RunState

SILENT_SECONDS = 5.0
"""Without a sign of life for so long a replica is marked; its dispatcher gives it some more."""


@dataclass(frozen=True)
class ReplicaState:
    """One replica at work, or that was."""

    row: ReplicaRow
    prompt: GenerationRow | None
    """The one that it is decoding."""
    done: int
    """Prompts that it has ended."""
    tokens: int
    rate: float | None
    """Tokens per second of its decoding."""

    @property
    def id(self) -> int:
        """That of its row."""
        return self.row.id

    @property
    def silent(self) -> float | None:
        """Seconds since its last sign of life; None of one that has left."""
        return seconds_since(self.row.heartbeat_at) if self.row.at_work else None

    @property
    def is_silent(self) -> bool:
        """True when that is longer ago than it should be."""
        return self.silent is not None and self.silent >= SILENT_SECONDS


def replica_states(state: RunState) -> list[ReplicaState]:
    """The replicas of a session, those at work first."""
    by_replica: dict[int, list[GenerationRow]] = {}
    for generation in state.generations if state.replicas else ():
        if generation.replica_id is not None:
            by_replica.setdefault(generation.replica_id, []).append(generation)
    states = [_state(row, by_replica.get(row.id, []), live=state.summary.live) for row in state.replicas]
    return sorted(states, key=lambda each: (not each.row.at_work, each.row.number))


def _state(row: ReplicaRow, prompts: list[GenerationRow], *, live: bool) -> ReplicaState:
    running = [prompt for prompt in prompts if prompt.status == "running"] if live and row.at_work else []
    ended = sum(prompt.status in DONE for prompt in prompts)
    tokens = sum(prompt.token_count for prompt in prompts)
    rate = tokens_per_second(tokens, sum(prompt.total_ms for prompt in prompts))
    return ReplicaState(row, running[-1] if running else None, ended, tokens, rate)


def words_of(states: list[ReplicaState]) -> str:
    """``2 replicas at work, 1 gone``."""
    at_work = sum(each.row.at_work for each in states)
    lost = len(states) - at_work
    words = f"{at_work} {'replica' if at_work == 1 else 'replicas'} at work"
    return f"{words}, {lost} gone" if lost else words
