"""The bytes of the tokens that a feed has met, read once each."""

from __future__ import annotations

from collections.abc import Iterable

from spectui.store.reading.reader import Reader


class Tokens(dict[int, bytes]):
    """Token id -> bytes; those that the database does not have are left out."""

    def learn(self, reader: Reader, tokenizer_id: str, ids: Iterable[int]) -> None:
        """Fetch the bytes of tokens not met before."""
        if unknown := set(ids) - self.keys():
            self.update(reader.tokens(tokenizer_id, sorted(unknown)))
