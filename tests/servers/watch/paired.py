"""A paired measurement of two servers by their clients: requests at a time, the same prompts, each server in turn.

A client's time per token is that between the first token that reaches it and the last one, by its own clock.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from spectui.servers.client import Client
from spectui.servers.watch.figures import Figures, between
from spectui.servers.watch.payoff import Payoff, Plain, payoff
from spectui.servers.watch.poller import Poller
from spectui.servers.watch.server import Watched
from tests.waiting import until

PROMPTS = (
    "Count from one to a hundred in words:",
    "A recipe for bread, step by step:",
    "def fibonacci(n):",
    "The months of the year and what grows in them:",
    "Explain why the sky is blue, then why it is red in the evening.",
    "List ten animals of the forest and what they eat.",
    "SELECT name, count(*) FROM visits",
    "Once upon a time a fox and a bear went to the river.",
)


@dataclass
class Side:
    """One server: what its clients measured, and what a watch of it says."""

    address: str
    model: str = ""
    decode_s: float = 0.0
    tokens: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.watched = Watched(self.address, self.address)
        self.poller = Poller(self.watched)

    @property
    def client_ms(self) -> float:
        """Time per token after the first, as the clients measured it."""
        return self.decode_s / self.tokens * 1000

    def serve(self, requests: int, concurrency: int, length: int) -> None:
        """Have so many requests answered, `concurrency` at a time."""
        with ThreadPoolExecutor(concurrency) as pool:
            for outcome in [pool.submit(self._ask, number, length) for number in range(requests)]:
                outcome.result()

    def _ask(self, number: int, length: int) -> None:
        body = {
            "prompt": PROMPTS[number % len(PROMPTS)],
            "max_tokens": length,
            "temperature": 0,
            "stream": True,
            "ignore_eos": True,
            "stream_options": {"include_usage": True},
            **({"model": self.model} if self.model else {}),
        }
        first = last = 0.0
        tokens = 0
        with Client(self.address) as client:
            for event in client.stream("/v1/completions", body):
                if event.get("choices") and event["choices"][0].get("text"):
                    last = time.monotonic()
                    first = first or last
                tokens = max(tokens, (event.get("usage") or {}).get("completion_tokens", 0))
                tokens = max(tokens, (event.get("timings") or {}).get("predicted_n", 0))
        if tokens > 1:
            with self._lock:
                self.decode_s += last - first
                self.tokens += tokens - 1


@dataclass(frozen=True)
class Compared:
    """The answer of a watch, and the truth."""

    said: Payoff
    truth: float
    here: Figures

    @property
    def error(self) -> float:
        """Share by which the watch is off."""
        return abs((self.said.speedup or 0.0) / self.truth - 1)


def compare(speculating: Side, plain: Side, *, concurrency: int, turns: int, length: int) -> Compared:
    """Both servers in turn, `concurrency` requests each time; what the counters say against what clients measured."""
    spans: list[Figures] = []
    before = []
    for side in (speculating, plain):
        side.decode_s, side.tokens = 0.0, 0
        side.serve(1, 1, 8)  # whatever is done once
        side.decode_s, side.tokens = 0.0, 0
        assert side.poller.poll(), side.watched.view(0.0).words
        before.append(side.watched.history.last)
    for _ in range(turns):
        for side in (speculating, plain):
            side.serve(concurrency, concurrency, length)
    for side, first in zip((speculating, plain), before, strict=True):
        assert first is not None
        _until_counted(side)
        last = side.watched.history.last
        assert last is not None
        spans.append(between(first, last))
    said = payoff([], spans[0], Plain(plain.address, (spans[1],)))
    return Compared(said, plain.client_ms / speculating.client_ms, spans[0])


def _until_counted(side: Side) -> None:
    """Poll until nothing runs any more: the last request's counts may come after its answer."""
    before: Sequence[float | None] = ()

    def is_counted() -> bool:
        nonlocal before
        time.sleep(0.2)  # twice the same at once would say little
        if not side.poller.poll():
            return False
        last = side.watched.history.last
        assert last is not None
        earlier, before = before, (last.generated, last.decode_s)
        return not last.running and before == earlier

    until(is_counted, what=lambda: f"{side.address} to count its last request")
