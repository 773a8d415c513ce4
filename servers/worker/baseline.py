"""The same prompts on a server without speculation: plain decoding, measured beside the run."""

from __future__ import annotations

import math
import queue
import threading
import time

from spectui.servers.answers.base import CHAT, Question
from spectui.servers.answers.chunked import Chunks
from spectui.servers.client import Client
from spectui.servers.errors import ServerError
from spectui.servers.kinds import choose_model, recognise

LEAST_TOKENS = 4
"""An answer of fewer tells nothing of its speed."""
Measured = tuple[float, int] | ServerError
"""Milliseconds of a token after the first, and the number of those; or the reason that it was not measured."""


class PlainServer:
    """A server without speculation. Raises `ServerError` where there is none."""

    def __init__(self, client: Client, model: str) -> None:
        self._client = client
        server = recognise(client)
        self._model = choose_model(server, model if model in server.models else "", client.address)

    def measure(self, question: Question) -> queue.Queue[Measured]:
        """Ask the same in a thread; the queue gets the result."""
        result: queue.Queue[Measured] = queue.Queue()

        def ask() -> None:
            try:
                result.put(self._ms_per_token(question))
            except ServerError as error:
                result.put(error)
            except Exception as error:  # a thread's error would be lost
                result.put(ServerError(f"{type(error).__name__}: {error}"))

        threading.Thread(target=ask, name="plain server", daemon=True).start()
        return result

    def _ms_per_token(self, question: Question) -> tuple[float, int]:
        body = question.body() | {"model": self._model, "timings_per_token": True, "return_token_ids": True}
        chunks = Chunks(question.max_tokens)
        timed = 0.0
        for event in self._client.stream(CHAT, body):
            chunks.feed(event, time.perf_counter())
            timings = event.get("timings")
            by_server = timings.get("predicted_ms") if isinstance(timings, dict) else None
            if isinstance(by_server, int | float) and 0 <= by_server < math.inf:
                timed = float(by_server)
        tokens = (chunks.text.tokens or chunks.count) - 1
        whole = timed or chunks.ms
        if tokens < LEAST_TOKENS or not whole:
            raise ServerError("the answer is too short")
        return whole / tokens, tokens
