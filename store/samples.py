"""One reading of a server's counters: the same type for every engine, as it is kept and read back.

Counters run from the server's start. What an engine does not tell is None, or an empty tuple: never 0.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class Histogram:
    """A histogram of seconds: observations at or below each bound, and the sum of all."""

    bounds: tuple[float, ...]
    """Ascending, the last one infinite."""
    counts: tuple[float, ...]
    """Cumulative, one a bound."""
    total: float

    @property
    def count(self) -> float:
        """Observations."""
        return self.counts[-1] if self.counts else 0.0

    def since(self, before: Histogram | None) -> Histogram | None:
        """The observations after `before`; None where the two do not fit each other."""
        if before is None or before.bounds != self.bounds:
            return None
        counts = tuple(after - earlier for after, earlier in zip(self.counts, before.counts, strict=True))
        return Histogram(self.bounds, counts, self.total - before.total)

    def quantile(self, part: float) -> float | None:
        """The value below which `part` of the observations lie, straight within a bucket; None without any.

        A value in the last, open bucket is the bound below it: the least that it can be.
        """
        if self.count <= 0:
            return None
        rank, low, below = part * self.count, 0.0, 0.0
        for bound, count in zip(self.bounds, self.counts, strict=True):
            if count >= rank and count > below:
                return (
                    low if bound == float("inf") else low + (bound - low) * (rank - below) / (count - below)
                )
            low, below = (low if bound == float("inf") else bound), count
        return low


@dataclass(frozen=True, slots=True)
class TaskCounts:
    """Counters of the requests that carry one task's label (SGLang)."""

    task: str
    tokens: float
    """Committed, first tokens left out."""
    rounds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """Counters of a server: from its start in a `Sample`, over a stretch of time in `servers.watch.figures.Figures`."""

    # Speculation.
    drafts: float | None = None
    """Rounds in which something was drafted."""
    drafted: float | None = None
    """Draft tokens."""
    accepted: float | None = None
    by_position: tuple[float, ...] = ()
    """Accepted tokens at each position of a draft."""

    # Decoding.
    generated: float | None = None
    """Tokens, the first of each request among them."""
    first_tokens: float | None = None
    """Requests that got their first token."""
    rounds: float | None = None
    """Times that a request went through the target after its first token, drafts or none."""
    tokens: float | None = None
    """Committed by those rounds."""
    decode_s: float | None = None
    """Time that requests spent between their first token and their last so far, summed over requests."""
    decode_tokens: float | None = None
    """Tokens that came in `decode_s`."""
    iterations: float | None = None
    """Steps of the engine, each for all requests that run."""
    batched: float | None = None
    """Requests in those steps, summed: over `iterations` the mean load."""

    # Serving.
    prompt_tokens: float | None = None
    prefix_queries: float | None = None
    prefix_hits: float | None = None
    preempted: float | None = None
    finished: tuple[tuple[str, float], ...] = ()
    """Requests that ended, by reason."""

    first_token: Histogram | None = None
    """Time to the first token."""
    round_time: Histogram | None = None
    """Time of a round (vLLM), or of a token (SGLang)."""
    token_time: Histogram | None = None
    """Time per token after the first, one observation a request."""

    tasks: tuple[TaskCounts, ...] = ()


_PACKED = ("by_position", "finished", "first_token", "round_time", "token_time", "tasks")
"""Fields that are no number or text: JSON in the column `more`."""
COUNTERS = tuple(field.name for field in fields(Counters) if field.name not in _PACKED)
"""The single numbers among the counters; they only ever grow."""


@dataclass(frozen=True, slots=True)
class Sample(Counters):
    """The counters and levels of a server at one time."""

    at: float
    """Seconds since 1970 by the clock of the watching machine."""
    engine: str
    """``vllm``, ``llama.cpp`` or ``sglang``."""
    model: str = ""
    mark: float | None = None
    """Start of the counters by the server's clock; another value is another process."""

    # Levels of this moment.
    running: float | None = None
    waiting: float | None = None
    kv: float | None = None
    """Share of the key-value cache in use."""
    depth: int | None = None
    """Positions of a draft, where the server counts or names them."""
    accept_length: float | None = None
    """Tokens a round, as SGLang averages it over its last decode steps."""
    accept_rate: float | None = None
    """Accepted of drafted, as SGLang averages it; with trees it has another base than other engines' rate."""
    live_rate: float | None = None
    """Tokens a second of this moment, where counters move at a request's end alone."""
    speculative: bool | None = None
    """True when the server says that it speculates, False when it says that it does not."""


# As rows of the table `sample`.

SCALARS = tuple(field.name for field in fields(Sample) if field.name not in _PACKED)
"""Fields with a column of their own."""


def to_row(sample: Sample) -> tuple[float | int | str | None, ...]:
    """The values of `SCALARS`, then `more`."""
    scalars = (getattr(sample, name) for name in SCALARS)
    packed = {name: getattr(sample, name) for name in _PACKED}
    more = {
        name: asdict(value) if isinstance(value, Histogram) else _plain(value)
        for name, value in packed.items()
        if value
    }
    return (*scalars, json.dumps(more, separators=(",", ":")))


def from_row(row: Sequence[Any]) -> Sample:
    """The inverse of `to_row`. Raises `ValueError`, `TypeError` or `LookupError` for what is no sample."""
    *scalars, text = row
    fields_of = dict(zip(SCALARS, scalars, strict=True))
    fields_of["speculative"] = None if (known := fields_of["speculative"]) is None else bool(known)
    more = json.loads(text)
    return Sample(
        **fields_of,
        by_position=tuple(float(count) for count in more.get("by_position", ())),
        finished=tuple((str(reason), float(count)) for reason, count in more.get("finished", ())),
        tasks=tuple(TaskCounts(str(t), float(n), float(r)) for t, n, r in more.get("tasks", ())),
        first_token=_histogram(more.get("first_token")),
        round_time=_histogram(more.get("round_time")),
        token_time=_histogram(more.get("token_time")),
    )


def _plain(value: Sequence[Any]) -> list[Any]:
    return [astuple(each) if isinstance(each, TaskCounts) else each for each in value]


def _histogram(value: dict[str, Any] | None) -> Histogram | None:
    if value is None:
        return None
    bounds, counts = (tuple(map(float, value[name])) for name in ("bounds", "counts"))
    return Histogram(bounds, counts, float(value["total"]))
