"""From token ids to text that is safe to draw: bytes put together over token borders, then sanitized."""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from dataclasses import dataclass

from spectui.store.records import UNKNOWN_TOKEN
from spectui.store.rows import RoundRow, spans
from spectui.tui.terminal.textsafe import sanitize, sanitize_line

_UTF8 = codecs.getincrementaldecoder("utf-8")


@dataclass(frozen=True)
class Piece:
    """A span of the stream: `kind` is accepted, target or rejected."""

    kind: str
    text: str
    number: int
    """The round it belongs to."""
    tokens: int
    """Tokens it adds to the output; none for a rejected span."""


def tokens_of(row: RoundRow) -> set[int]:
    """The tokens of a round: its nodes, the target's own, and one that came before the first."""
    ids = {node.token_id for node in row.nodes}
    return ids | {token for token in (row.bonus_token_id, row.first_token_id) if token is not None}


def token_text(token_id: int, table: Mapping[int, bytes]) -> str:
    """One token on its own, on one line: incomplete characters show as ``�``, unknown ids as their number."""
    data = table.get(token_id)
    if data is None:
        return f"⟨id {token_id}⟩"
    return sanitize_line(data.decode("utf-8", errors="replace"))


class StreamDecoder:
    """Turns the rounds of one generation, in order, into pieces.

    A character whose bytes span several tokens appears with the token that completes it. A rejected
    span starts from the bytes that were pending where it branched off, and never disturbs them.
    """

    def __init__(self) -> None:
        self._decoder = _UTF8(errors="replace")

    def feed(self, round_row: RoundRow, table: Mapping[int, bytes]) -> list[Piece]:
        """The pieces of the next round."""
        out: list[Piece] = []
        for span in spans(round_row):
            if span.kind == "rejected":
                text = sanitize_line(self._aside(span.token_ids, table))
                tokens = 0
            else:
                text = sanitize("".join(self._decode(self._decoder, i, table) for i in span.token_ids))
                tokens = len(span.token_ids)
            if text or tokens:
                out.append(Piece(span.kind, text, round_row.number, tokens))
        return out

    @property
    def state(self) -> tuple[bytes, int]:
        """The bytes pending between two rounds; set it to go on from there."""
        return self._decoder.getstate()

    @state.setter
    def state(self, state: tuple[bytes, int]) -> None:
        self._decoder.setstate(state)

    def close(self) -> str:
        """The rest when the prompt has ended: bytes that never became a character."""
        text = sanitize(self._decoder.decode(b"", final=True))
        self._decoder.reset()
        return text

    def _aside(self, token_ids: tuple[int, ...], table: Mapping[int, bytes]) -> str:
        branch = _UTF8(errors="replace")
        branch.setstate(self._decoder.getstate())
        text = "".join(self._decode(branch, i, table) for i in token_ids)
        return text + branch.decode(b"", final=True)

    @staticmethod
    def _decode(decoder: codecs.IncrementalDecoder, token_id: int, table: Mapping[int, bytes]) -> str:
        if token_id == UNKNOWN_TOKEN:
            return ""
        data = table.get(token_id)
        if data is None:
            return f"⟨id {token_id}⟩"
        return decoder.decode(data)
