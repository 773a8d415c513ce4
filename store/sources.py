"""The sources of a session's rounds: spectui's own engine, or a server that says more or less of its own."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields

ENGINE = "engine"
"""The source of sessions that spectui decoded itself."""
WATCH = "watch"
"""The source of sessions that hold the samples of a watched server, and neither prompts nor rounds."""
WAITS = "waiting"
"""The word that begins a stage in which a session cannot go on."""
WAITING = f"{WAITS} for the server"
"""The stage of a session whose server is gone, and may come back."""

RECORDER = "vLLM recorder"
"""The source of sessions whose rounds our recorder wrote from inside a server."""
RECORDING = "recording"
"""The key of a session's configuration that says how far a server's start is recorded: its prompts are requests of the
server's clients, which come as they come."""


@dataclass(frozen=True)
class Source:
    """The knowledge of rounds that one source gives; all else is NULL in the database, never 0."""

    words: str
    """For people, as the end of "rounds from ...": where they are read."""
    exact: bool = True
    """False where accepted lengths are an estimate."""
    ordered: bool = True
    """False where it is only known how many rounds of each length there were: not which came when."""
    nodes: bool = False
    """True where nodes have tokens, probabilities and entropies."""
    split_time: bool = False
    """True where a round's time is split into drafting, verification and the rest."""


SOURCES: dict[str, Source] = {
    ENGINE: Source("spectui's own engine", nodes=True, split_time=True),
    "llama.cpp stream": Source("the timings in llama.cpp's stream"),
    RECORDER: Source("our recorder inside vLLM", nodes=True),
    "vLLM detailed": Source("vLLM's per-request metrics"),
    "counters": Source("the server's counters, with one request in flight", ordered=False),
    "chunks": Source("the sizes of streamed chunks, an estimate", exact=False),
    WATCH: Source("the counters of a watched server, which has no rounds of ours", ordered=False),
    "SGLang histogram": Source("SGLang's histogram of each request", ordered=False),
}
"""Name in the session's row -> source."""


def source_of(name: str) -> Source:
    """A source by its name; one that a newer spectui wrote is taken for one that says little."""
    return SOURCES.get(name) or Source(name, exact=False, ordered=False)


def lacking(name: str) -> str:
    """The reason that a session has no probabilities, entropies and rejected tokens; "" where it has them."""
    source = source_of(name)
    return "" if source.nodes else f"not known of a server: rounds from {source.words}"


@dataclass(frozen=True)
class Server:
    """The server of a session. Never a key or a password: `url` is without them."""

    kind: str
    """llama.cpp, vLLM, SGLang or other."""
    url: str
    model: str
    version: str = ""
    method: str = ""
    """The way in which it drafts, as far as it says; else ""."""
    baseline_url: str = ""
    """The server without speculation that the session was compared with; "" for none."""

    @property
    def name(self) -> str:
        """For people: the kind and its version."""
        return f"{self.kind} {self.version}".strip()

    def to_json(self) -> str:
        """As the session's row keeps it."""
        return json.dumps(asdict(self))

    @classmethod
    def from_dict(cls, data: dict[str, object]) -> Server:
        """The inverse of `to_json`, already parsed; what a newer spectui added is left out."""
        known = {field.name for field in fields(cls)}
        texts = {name: str(value) for name, value in data.items() if name in known}
        return cls(**{"kind": "other", "url": "", "model": ""} | texts)
