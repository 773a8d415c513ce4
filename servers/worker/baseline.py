"""The same prompts on a server without speculation: plain decoding, measured beside the run."""

from __future__ import annotations

import math
import queue
import threading
import time

from spectui.servers.answers.base import CHAT, Question, count_in
from spectui.servers.answers.chunked import Chunks
from spectui.servers.client import Client
from spectui.servers.errors import ServerError
from spectui.servers.kinds import Recognised, choose_model, recognise, speculates

LEAST_TOKENS = 4
"""An answer of fewer tells nothing of its speed."""
_DRAFTS = "--baseline-server {} speculates, too; give the same server without speculation"
Measured = tuple[float, int] | ServerError
"""Milliseconds of a token after the first, and the number of those; or the reason that it was not measured."""


def refuse_drafting(client: Client, server: Recognised) -> None:
    """Raise `ServerError` for a server that says that it drafts: it is none to hold speculation against."""
    if speculates(client, server):
        raise ServerError(_DRAFTS.format(client.address), everywhere=True)


class PlainServer:
    """A server without speculation. Raises `ServerError` where there is none."""

    def __init__(self, client: Client, model: str) -> None:
        self._client = client
        server = recognise(client)
        refuse_drafting(client, server)
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
        timed, drafted = 0.0, 0
        for event in self._client.stream(CHAT, body):
            chunks.feed(event, time.perf_counter())
            timings = event.get("timings")
            by_server = timings.get("predicted_ms") if isinstance(timings, dict) else None
            drafted = count_in(timings, "draft_n") or 0 if isinstance(timings, dict) else drafted
            if isinstance(by_server, int | float) and 0 <= by_server < math.inf:
                timed = float(by_server)
        tokens = (chunks.text.tokens or chunks.count) - 1
        whole = timed or chunks.ms
        if drafted:
            raise ServerError(_DRAFTS.format(self._client.address), everywhere=True)
        if tokens < LEAST_TOKENS or not whole:
            raise ServerError("the answer is too short")
        return whole / tokens, tokens
