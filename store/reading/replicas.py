"""Reading of replicas: who decoded a session's prompts beside, or instead of, its worker."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from spectui.store.device_class import DeviceClass, read_class
from spectui.store.reading.queries import Queries
from spectui.store.reading.summaries import json_object
from spectui.store.sqlite.typed import Typed, declared


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
    machine: DeviceClass
    """Known when the models are loaded."""
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


_JSON = ("gpu", "costs")
_COLUMNS = [field.name for field in fields(ReplicaRow)]
_REPLICA = Typed("a replica", {**declared(ReplicaRow), "machine": "str"}, finite=True)


def replicas(queries: Queries, session_id: int) -> list[ReplicaRow]:
    """The replicas of a session, in the order in which they joined; none of a session that its worker decoded alone."""
    rows = _REPLICA.checked(
        queries.fetch(
            f"SELECT {', '.join(_COLUMNS)} FROM replica WHERE session_id = ? ORDER BY number", session_id
        )
    )
    return [_row(dict(zip(_COLUMNS, row, strict=True))) for row in rows]


def _row(columns: dict[str, Any]) -> ReplicaRow:
    columns["machine"] = read_class(columns["machine"])
    for name in _JSON:
        if columns[name] is not None:
            columns[name] = json_object(columns[name], f"replica's {name}")
    return ReplicaRow(**columns)
