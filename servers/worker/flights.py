"""Requests in flight: each streams its answer in a thread of its own, and one queue has all events."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spectui.servers.answers.base import token_ids
from spectui.servers.client import Client
from spectui.servers.errors import ServerError

Learn = Callable[[Client, Sequence[int]], None]
"""Asks the server about tokens by their ids. Called in the flight's thread when all have come, before its end."""
QUEUED = 4096
"""Events that wait to be read before the streams do; while a run is paused they come to an end here."""


@dataclass(frozen=True)
class Event:
    """An event of one flight; without `data` its end, by an `error` or as it should be."""

    flight: Flight
    at: float
    """Seconds (`time.perf_counter`), as it came."""
    data: Mapping[str, Any] | None = None
    error: ServerError | None = None


class Flight(threading.Thread):
    """One request with a connection of its own. It ends by itself; `drop` makes it end with the next event."""

    def __init__(
        self,
        client: Client,
        path: str,
        body: Mapping[str, Any],
        events: queue.Queue[Event],
        headers: Mapping[str, str],
        learn: Learn | None = None,
    ) -> None:
        super().__init__(name="flight", daemon=True)
        self._client, self._path, self._body, self._events = client, path, body, events
        self._headers, self._learn = headers, learn
        self.dropped = False

    def drop(self) -> None:
        """Give the answer up: nothing of it is waited for any more."""
        self.dropped = True

    def run(self) -> None:
        """Stream the answer into the queue."""
        error, tokens = None, dict[int, None]()
        try:
            with self._client:
                for data in self._client.stream(self._path, self._body, self._headers):
                    if self.dropped:  # leaving the stream closes the connection, by which the server knows
                        return
                    self._events.put(Event(self, time.perf_counter(), data))
                    tokens |= dict.fromkeys(token_ids(data))
                if self._learn is not None:
                    self._learn(self._client, list(tokens))
        except ServerError as trouble:
            error = trouble
        except Exception as trouble:  # a thread's error would be lost
            error = ServerError(f"the answer cannot be read: {type(trouble).__name__}: {trouble}")
        if not self.dropped:
            self._events.put(Event(self, time.perf_counter(), error=error))
