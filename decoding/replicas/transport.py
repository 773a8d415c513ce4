"""The way to replicas: requests that are answered later, whatever starts the processes and carries the answers.

`pipes` starts processes of this machine, `ray_engine` has Ray start them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

QUICK = ("tell", "pulse")
"""Methods of a replica that are answered beside the others, which take turns."""


class Link(Protocol):
    """The way to one replica. Two links are equal when they are the same."""

    def ask(self, method: str, *arguments: Any) -> None:
        """Send a request; its answer comes from `Transport.wait`. A replica that is gone is told there, too."""

    def cut(self) -> None:
        """End the replica, whatever it is at; nothing comes of it any more."""


@dataclass(frozen=True)
class Answer:
    """The answer to one request, or the news that a replica is gone."""

    link: Link
    method: str
    value: Any = None
    error: str = ""
    """One line of what the method raised; "" where it returned."""
    lost: str = ""
    """The end of the replica, in words; "" while it is there."""


class Transport(Protocol):
    """Starts replicas and brings their answers."""

    name: str
    """As it is recorded: what starts the replicas."""
    devices: Sequence[str]
    """One for each replica that there is room for, in words."""

    def start(self) -> Link:
        """Start a replica. Raises `DecodingError` where that is not possible at all."""

    def wait(self, seconds: float) -> list[Answer]:
        """Answers that have come; waits so long for the first."""

    def trouble(self) -> str:
        """The reason that no replica can be reached any more, or started; "" while all is well."""

    def close(self) -> None:
        """End all replicas, and what was started for them."""
