"""The figures of a session by class of device: counts are of all, times and what follows of one class each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from spectui.store.counts.metrics import Metric, tokens_per_second
from spectui.store.counts.pace import pace_of
from spectui.store.counts.sums import TIMES, plus, whole
from spectui.store.device_class import DeviceClass, read_class
from spectui.store.reading.queries import Queries
from spectui.store.rows import TOTAL_MS, Paced

SEVERAL_SQL = """
    SELECT session_id, count(DISTINCT machine) FROM (
        SELECT session_id, machine FROM replica WHERE (machine != '' OR engine = '') AND session_id {which}
        UNION SELECT id, machine FROM session
        WHERE machine != '' AND id IN (SELECT session_id FROM replica WHERE session_id {which})
    ) GROUP BY session_id HAVING count(DISTINCT machine) > 1
"""
"""Sessions that were decoded on several classes of devices, and how many; `which` narrows them. The class of a replica
at work is not known before its models are loaded, and it decodes nothing before."""


@dataclass
class Times:
    """The tokens of some rounds, and the time that they took."""

    tokens: int = 0
    rounds: int = 0
    prompts: int = 0
    draft_ms: float | None = 0.0
    verify_ms: float | None = 0.0
    other_ms: float | None = 0.0

    total_ms = TOTAL_MS

    def add(self, tokens: int, rounds: int, prompts: int, *times: float | None) -> None:
        """Add those of other rounds on the same class of device."""
        self.tokens += tokens
        self.rounds += rounds
        self.prompts += prompts
        for name, more in zip(TIMES, times, strict=True):
            setattr(self, name, plus(getattr(self, name), more))


@dataclass(frozen=True)
class DeviceFigures(Paced):
    """The part of a session that one class of device decoded."""

    machine: DeviceClass
    device: str
    """cpu, cuda:0, ...; of several "cpu + cuda:0"."""
    hosts: tuple[str, ...]
    replicas: int
    """That decoded it; 0: the session's own worker alone."""
    prompts: int
    rounds: int
    tokens: int
    draft_ms: float | None
    verify_ms: float | None
    other_ms: float | None
    baseline_ms: float | None
    baseline_low_ms: float | None
    baseline_high_ms: float | None
    baseline_count: int
    energy_joules: float | None
    energy_seconds: float | None
    tasks: Mapping[str, Times] = field(default_factory=dict)

    total_ms = TOTAL_MS
    tokens_per_second = Metric(tokens_per_second, "tokens", "total_ms")


def several_devices(queries: Queries, session_id: int | None = None) -> dict[int, int]:
    """The number of classes by session, of sessions (or one) that were decoded on several."""
    which = "IS NOT NULL" if session_id is None else f"= {int(session_id)}"
    return dict(queries.fetch(SEVERAL_SQL.format(which=which)))


def device_figures(queries: Queries, session_id: int) -> list[DeviceFigures]:
    """The figures of each class of device that decoded prompts of a session, in the order in which they first did."""
    with queries.snapshot():
        ((own_machine, own_device, own_host, *own_energy),) = queries.fetch(
            "SELECT machine, device, host, energy_joules, energy_seconds FROM session WHERE id = ?",
            session_id,
        )
        replicas: dict[int | None, tuple[Any, ...]] = {
            row[0]: row[1:]
            for row in queries.fetch(
                "SELECT id, machine, device, host, energy_joules, energy_seconds FROM replica"
                " WHERE session_id = ? ORDER BY number",
                session_id,
            )
        }
        replicas[None] = (own_machine, own_device, own_host, *own_energy)
        sums = queries.fetch(
            "SELECT replica_id, task, sum(token_count), sum(round_count), count(*),"
            f" {', '.join(map(whole, TIMES))} FROM generation"
            " WHERE session_id = ? AND status != 'pending' GROUP BY 1, 2"
            # A prompt that was skipped before anyone had it is nobody's.
            " HAVING replica_id IS NOT NULL OR sum(round_count) > 0 ORDER BY min(position)",
            session_id,
        )
        measured = queries.fetch(
            "SELECT replica_id, ms_per_token, round_ms FROM baseline WHERE session_id = ? ORDER BY id",
            session_id,
        )
    of_class: dict[str, list[int | None]] = {}
    for replica_id in dict.fromkeys(row[0] for row in sums):
        of_class.setdefault(replicas.get(replica_id, replicas[None])[0], []).append(replica_id)
    return [
        _figures(
            read_class(machine),
            [replicas.get(each, replicas[None]) for each in ids],
            len([each for each in ids if each is not None]),
            [row[1:] for row in sums if row[0] in ids],
            [row[1:] for row in measured if row[0] in ids],
        )
        for machine, ids in of_class.items()
    ]


def _figures(
    machine: DeviceClass,
    replicas: list[tuple[Any, ...]],
    count: int,
    sums: list[tuple[Any, ...]],
    measured: list[tuple[float, float | None]],
) -> DeviceFigures:
    total, tasks = Times(), dict[str, Times]()
    for task, *row in sums:
        total.add(*row)
        tasks.setdefault(task, Times()).add(*row)
    _, devices, hosts, joules, seconds = zip(*replicas, strict=True)
    counted = None not in joules
    pace = pace_of(measured, total.total_ms / total.rounds if total.rounds else None)
    return DeviceFigures(
        machine,
        " + ".join(dict.fromkeys(filter(None, devices))),
        tuple(dict.fromkeys(filter(None, hosts))),
        count,
        total.prompts,
        total.rounds,
        total.tokens,
        total.draft_ms,
        total.verify_ms,
        total.other_ms,
        *pace,
        sum(joules) if counted else None,
        sum(seconds) if counted else None,
        tasks,
    )
