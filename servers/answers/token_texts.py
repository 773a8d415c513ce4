"""Texts of a server's tokens by their ids, asked for one by one as new ones come."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from spectui.servers.client import Client
from spectui.servers.errors import ServerError

MOST_IDS = 20_000
"""Ids that are asked for in a run; those beyond have no text of their own."""

MOST_FAULTS = 3
"""Passing faults after which no more is asked."""


class TokenTexts:
    """Asks vLLM's ``/detokenize``; a server without it gives no texts."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._lock = threading.Lock()
        self._known: dict[int, str] = {}
        self._before: tuple[int, str] | None = None
        """A token to stand before each other: at the beginning of a text some tokenizers drop a blank."""
        self._faults_left = MOST_FAULTS

    def learn(self, client: Client, ids: Sequence[int]) -> None:
        """Ask for the texts of those that are new; several threads may."""
        with self._lock:
            try:
                for token in dict.fromkeys(t for t in ids if t not in self._known):
                    if not self._faults_left or len(self._known) >= MOST_IDS:
                        return
                    self._known[token] = self._ask(client, token)
            except ServerError as error:
                self._faults_left = self._faults_left - 1 if error.passing else 0

    def of(self, ids: Sequence[int]) -> list[str] | None:
        """The texts of tokens; None where one is not known."""
        texts = [self._known.get(token) for token in ids]
        return None if None in texts else [text for text in texts if text is not None]

    def _ask(self, client: Client, token: int) -> str:
        if self._before is None:
            self._before = (token, self._text(client, [token]))
        first, start = self._before
        whole = self._text(client, [first, token])
        return whole[len(start) :] if whole.startswith(start) else self._text(client, [token])

    def _text(self, client: Client, ids: list[int]) -> str:
        answer = client.post("/detokenize", {"model": self._model, "tokens": ids})
        text = answer.get("prompt") if isinstance(answer, dict) else None
        if not isinstance(text, str):
            raise ServerError("the server does not spell tokens out")
        return text
