"""The replicas of a run as its dispatcher knows them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from spectui.decoding.replicas.messages import Facts, Loaded, Pulse
from spectui.decoding.replicas.transport import Link
from spectui.store.writing.writer import PendingGeneration

JOIN_SECONDS = 60.0
"""Time in which a replica that was started has to show itself: it may wait for a GPU, or for a machine."""
LOAD_SILENCE = 60.0
"""Seconds without a sign of life after which a replica that loads counts as lost; libraries may hold everything up."""
SILENCE = 20.0
"""The same for one that decodes."""
PULSE_SECONDS = 1.0
"""Between two questions for a sign of life."""


class State(Enum):
    """The way of a replica, in order."""

    JOINING = "starting"
    JOINED = "waiting to load"
    LOADING = "loading"
    READY = "waiting for a prompt"
    DECODING = "decoding"


@dataclass(eq=False)
class Member:
    """One replica."""

    link: Link
    heard: float
    """Time of its last answer."""
    state: State = State.JOINING
    row: int = 0
    number: int = 0
    facts: Facts | None = None
    loaded: Loaded | None = None
    pulse: Pulse | None = None
    pulse_asked: float | None = None
    """Time of the question for a sign of life that is not answered yet."""
    pulse_heard: float = float("-inf")
    generation: PendingGeneration | None = None
    attempt: int = 0
    started_at: float = 0.0
    """Since when it has its prompt."""
    closed: bool = False
    """True when the end of its prompt is recorded."""
    choices: dict[int, int] = field(default_factory=dict)
    """The replica's number of a choice -> its row."""

    @property
    def name(self) -> str:
        """``replica 2 on node-7``."""
        return f"replica {self.number} on {self.facts.host}" if self.facts else "a replica"

    @property
    def meter(self) -> str:
        """The counter of the energy that it uses: a GPU is its own, CPUs are those of a machine."""
        on_cpu = self.loaded is not None and self.loaded.basis.device == "cpu" and self.facts is not None
        return self.facts.host if on_cpu and self.facts else f"replica {self.number}"

    @property
    def patience(self) -> float:
        """Seconds without a sign of life after which it counts as lost."""
        by_state = {State.JOINING: JOIN_SECONDS, State.LOADING: LOAD_SILENCE}
        return by_state.get(self.state, SILENCE)

    def wants_pulse(self, at: float) -> bool:
        """True when it is time to ask for a sign of life."""
        shown = self.state is not State.JOINING and self.pulse_asked is None
        return shown and at - self.pulse_heard >= PULSE_SECONDS

    def columns(self, heartbeat_at: str | None, *, metered: bool) -> dict[str, Any]:
        """The columns of its row that are written once a second; its joules are another's unless it is `metered`."""
        used = self.pulse
        if used is None:
            return {"stage": self.state.value}
        joules, seconds = used.energy or (None, None)
        if not metered:
            joules, seconds = 0.0, seconds or 0.0
        return {
            "stage": used.stage if self.state is State.LOADING else self.state.value,
            **({} if heartbeat_at is None else {"heartbeat_at": heartbeat_at}),
            "cpu_percent": used.cpu_percent,
            "rss_bytes": used.rss_bytes,
            "gpu": used.gpu,
            "energy_joules": joules,
            "energy_seconds": seconds,
        }
