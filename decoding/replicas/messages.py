"""The messages between a dispatcher and its replicas: plain data that needs neither torch nor numpy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from spectui.decoding.models.fingerprint import Basis
from spectui.store.device_class import DeviceClass


class Operation(NamedTuple):
    """A call of the session's writer that a replica asks for (`decoding.worker.run_writer`)."""

    method: str
    arguments: tuple[Any, ...]
    options: dict[str, Any]


@dataclass(frozen=True)
class Facts:
    """A replica before it loads anything."""

    host: str
    pid: int
    basis: Basis
    """Its versions and model files; of a model that is not here yet, no files. The device is not known yet."""


@dataclass(frozen=True)
class Loaded:
    """A replica with its models loaded."""

    basis: Basis
    config_json: str
    """The run's configuration with its tree chosen, where the replica was to choose it."""
    machine: DeviceClass
    drafter: str
    tokenizer_id: str
    vocabulary: int
    """Tokens of the target."""
    costs_json: str | None
    operations: tuple[Operation, ...]
    """Events of loading."""
    forgets: bool
    """True where the drafter would remember earlier prompts, and here begins each without them."""


@dataclass(frozen=True)
class Batch:
    """The work of a replica since it was last asked."""

    attempt: int
    operations: tuple[Operation, ...]
    ended: bool
    """True when there is no more of the prompt to come."""
    error: str = ""
    """The error that ended it without a word of its own; "" where all went well."""


@dataclass(frozen=True)
class Pulse:
    """A sign of life, and what the replica uses."""

    stage: str
    done: float | None
    total: float | None
    unit: str
    cpu_percent: float | None
    rss_bytes: int | None
    gpu: dict[str, Any] | None
    energy: tuple[float, float] | None
    """Joules and seconds of decoding so far."""
