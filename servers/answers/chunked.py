"""A stream in chunks of tokens, one a step of the server as long as its reader keeps up: vLLM and those like it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spectui.servers.answers.base import Pieces, Text, token_ids
from spectui.servers.answers.token_texts import TokenTexts
from spectui.servers.errors import ServerError


@dataclass(frozen=True)
class Chunk:
    """A piece of an answer."""

    at: float
    """Seconds, as it came."""
    text: str
    tokens: tuple[int, ...]
    """Ids of the server; empty where it tells none."""
    size: int
    """Tokens in it, as far as it is told; else 1."""


class Chunks:
    """The chunks of one answer, and its text."""

    def __init__(self, max_tokens: int) -> None:
        self._most = max_tokens + 1
        self._count = 0
        self.text = Text()
        self.all: list[Chunk] = []

    def feed(self, event: Mapping[str, Any], at: float) -> None:
        """Take up an event; one without tokens adds none."""
        piece, choice = self.text.feed(event)
        tokens = token_ids(event)
        size = len(tokens) or _logprobs(choice) or (1 if piece else 0)
        if size:
            self.all.append(Chunk(at, piece, tokens, size))
            self._count += size
        if max(self._count, self.text.tokens or 0) > self._most:
            raise ServerError("the server sends more tokens than it was asked for")

    @property
    def count(self) -> int:
        """Tokens so far, as far as chunks tell."""
        return self._count

    @property
    def ms(self) -> float | None:
        """From the first chunk to the last; None of a single one."""
        return 1e3 * (self.all[-1].at - self.all[0].at) if len(self.all) > 1 else None

    def ids(self, pieces: Pieces, texts: TokenTexts | None = None) -> list[int]:
        """Ids of all tokens by their texts, where `texts` has them; else a chunk's text is that of its last token."""
        ids: list[int] = []
        for chunk in self.all:
            parts = None if texts is None or not chunk.tokens else texts.of(chunk.tokens)
            if parts is None or "".join(parts) != chunk.text:  # of part of a character, or the end token
                parts = [""] * (chunk.size - 1) + [chunk.text]
            ids += map(pieces.id_of, parts)
        return ids

    def step_ms(self, steps: int) -> list[float | None]:
        """Milliseconds of so many steps after the first chunk: of their chunks, else each its share of the whole."""
        if steps == len(self.all) - 1:
            return [1e3 * (b.at - a.at) for a, b in zip(self.all, self.all[1:], strict=False)]
        whole = self.ms
        return [None if whole is None or not steps else whole / steps] * steps


def _logprobs(choice: Mapping[str, Any]) -> int:
    """The number of tokens that a chunk gives log probabilities of."""
    logprobs = choice.get("logprobs")
    content = logprobs.get("content") if isinstance(logprobs, Mapping) else None
    return len(content) if isinstance(content, list) else 0
