"""The same prompts on a server without speculation: plain decoding, measured beside the run."""

from __future__ import annotations

import time

from spectui.servers.answers.base import CHAT, Question
from spectui.servers.answers.chunked import Chunks
from spectui.servers.client import Client
from spectui.servers.errors import ServerError
from spectui.servers.kinds import choose_model, recognise
from spectui.store.writing.writer import SessionWriter

LEAST_TOKENS = 4
"""An answer of fewer tells nothing of its speed."""


class PlainServer:
    """A server without speculation. Raises `ServerError` where there is none."""

    def __init__(self, client: Client, model: str) -> None:
        self._client = client
        server = recognise(client)
        self._model = choose_model(server, model if model in server.models else "", client.address)

    def measure(self, question: Question, writer: SessionWriter, round_ms: float | None) -> None:
        """Ask the same, and keep the time of a token beside that of a round of the prompt, where that is known.

        A fault is an event: the prompt itself is done.
        """
        try:
            ms, tokens = self._ms_per_token(question)
        except ServerError as error:
            writer.add_event("baseline", f"plain decoding could not be measured: {error}")
            return
        if tokens >= LEAST_TOKENS:
            writer.add_baseline(ms, tokens, round_ms)

    def _ms_per_token(self, question: Question) -> tuple[float, int]:
        """Milliseconds of a token after the first, as they came or by the server's own clock, and their number."""
        body = question.body() | {"model": self._model, "timings_per_token": True, "return_token_ids": True}
        chunks = Chunks(question.max_tokens)
        timed = 0.0
        for event in self._client.stream(CHAT, body):
            chunks.feed(event, time.perf_counter())
            timings = event.get("timings")
            if isinstance(timings, dict) and isinstance(timings.get("predicted_ms"), int | float):
                timed = float(timings["predicted_ms"])
        tokens = (chunks.text.tokens or chunks.count) - 1
        whole = timed or chunks.ms
        if tokens <= 0 or not whole:
            return 0.0, 0
        return whole / tokens, tokens
