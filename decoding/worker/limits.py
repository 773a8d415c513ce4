"""What a run may use: time, nodes, tokens. Counted from when the worker begins to decode."""

from __future__ import annotations

import time

from spectui.decoding.config import RunConfig


class Limits:
    """Counts what one worker has done. A run that is resumed has its allowance again."""

    def __init__(self, config: RunConfig, idle_seconds: float = 0.0) -> None:
        self._config = config
        self._idle = idle_seconds
        self._started = time.perf_counter()
        self._nodes = 0
        self._tokens = 0

    def count(self, nodes: int, tokens: int) -> None:
        """Add a round."""
        self._nodes += nodes
        self._tokens += tokens

    def reached(self, idle_seconds: float) -> str | None:
        """The limit that is used up, in words; None while there is none. Idle time does not count."""
        config = self._config
        if config.max_nodes is not None and self._nodes >= config.max_nodes:
            return f"--max-nodes {config.max_nodes}"
        if config.max_tokens is not None and self._tokens >= config.max_tokens:
            return f"--max-tokens {config.max_tokens}"
        seconds = time.perf_counter() - self._started - (idle_seconds - self._idle)
        if config.max_seconds is not None and seconds >= config.max_seconds:
            return f"--max-time {config.max_seconds:g}s"
        return None
