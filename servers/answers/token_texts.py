"""Texts of a server's tokens by their ids, asked for one by one as new ones come."""

from __future__ import annotations

from collections.abc import Sequence

from spectui.servers.client import Client
from spectui.servers.errors import ServerError

MOST_IDS = 20_000
"""Ids that are asked for in a run; those beyond have no text of their own."""


class TokenTexts:
    """Asks vLLM's ``/detokenize``; a server without it gives no texts."""

    def __init__(self, client: Client, model: str) -> None:
        self._client = client
        self._model = model
        self._known: dict[int, str] = {}
        self._before: tuple[int, str] | None = None
        """A token to stand before each other: at the beginning of a text some tokenizers drop a blank."""
        self._able = True

    def learn(self, ids: Sequence[int]) -> None:
        """Ask for the texts of those that are new."""
        try:
            for token in dict.fromkeys(t for t in ids if t not in self._known):
                if not self._able or len(self._known) >= MOST_IDS:
                    return
                self._known[token] = self._ask(token)
        except ServerError:
            self._able = False

    def of(self, ids: Sequence[int]) -> list[str] | None:
        """The texts of tokens; None where one is not known."""
        texts = [self._known.get(token) for token in ids]
        return None if None in texts else [text for text in texts if text is not None]

    def _ask(self, token: int) -> str:
        if self._before is None:
            self._before = (token, self._text([token]))
        first, start = self._before
        whole = self._text([first, token])
        return whole[len(start) :] if whole.startswith(start) else self._text([token])

    def _text(self, ids: list[int]) -> str:
        answer = self._client.post("/detokenize", {"model": self._model, "tokens": ids})
        text = answer.get("prompt") if isinstance(answer, dict) else None
        if not isinstance(text, str):
            raise ServerError("the server does not spell tokens out")
        return text
