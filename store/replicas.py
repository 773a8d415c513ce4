"""Replicas: the processes that decoded a session's prompts beside its worker, as rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ReplicaRow:
    """One replica of a session; of a plain run there is none."""

    id: int
    session_id: int
    number: int
    """From 1, within the session; one that takes the place of a lost one has a number of its own."""
    engine: str
    """Its starter: ray, or processes of this machine; "" of a shard, which was a run of its own."""
    host: str
    pid: int | None
    device: str
    """cpu, cuda:0, ...; "" until its models are loaded."""
    machine: str
    """JSON of `store.device_class.DeviceClass`; "" until the models are loaded."""
    joined_at: str | None
    left_at: str | None
    reason: str
    """The reason of its leaving; "" while it is at work."""
    heartbeat_at: str | None
    """Its last sign of life, written once a second."""
    stage: str
    """Its activity, such as "loading target"."""
    cpu_percent: float | None
    rss_bytes: int | None
    gpu: dict[str, Any] | None
    energy_joules: float | None
    energy_seconds: float | None
    costs: dict[str, Any] | None
    """Costs of a round's parts on its device, JSON of `decoding.trees.costs.Costs`."""

    @property
    def at_work(self) -> bool:
        """True until it has left."""
        return self.left_at is None

    @property
    def name(self) -> str:
        """``replica 2 on node-7``."""
        return f"replica {self.number} on {self.host}"
