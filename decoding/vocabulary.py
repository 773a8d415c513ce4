"""The target's tokenizer as spectui needs it: prompts in, ids and bytes out."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import Any

from decoding.chat import Asked, Tell, plain, render, template_of

NO_SWITCHES: Mapping[str, Any] = MappingProxyType({})

_BYTE_TOKEN = re.compile(r"^<0x([0-9A-Fa-f]{2})>$")


class Vocabulary:
    """Wraps a Hugging Face tokenizer.

    `end_ids` holds every token that ends an output, those that the model's settings name and the tokenizer's own;
    `model_end_ids` only the former, at which transformers' `generate` stops, as long as there are any.
    """

    def __init__(self, tokenizer: Any, end_ids: Sequence[int]) -> None:
        self.tokenizer = tokenizer
        own = frozenset({tokenizer.eos_token_id} - {None})
        self.end_ids = frozenset(end_ids) | own
        self.model_end_ids = frozenset(end_ids) or own

    @cached_property
    def tokens(self) -> dict[str, int]:
        """Every token's text as the tokenizer stores it, and its id."""
        return dict(self.tokenizer.get_vocab())

    @cached_property
    def identity(self) -> str:
        """Names the vocabulary: equal for equal token tables, so that sessions share their bytes."""
        canonical = json.dumps(sorted(self.tokens.items(), key=lambda item: item[1]))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    def encode_prompt(
        self, asked: Asked, switches: Mapping[str, Any] = NO_SWITCHES, tell: Tell = lambda note: None
    ) -> list[int]:
        """Ids of one user turn, or of a conversation, through the chat template, as plain text where there is none.

        `switches` are variables for the template; `tell` hears what was done that nobody asked for. Raises
        `DecodingError` where the template refuses it.
        """
        if template_of(self.tokenizer):
            rendered = render(self.tokenizer, asked, switches, tell)
            return list(self.tokenizer(rendered, add_special_tokens=False)["input_ids"])
        return list(self.tokenizer(plain(asked, tell))["input_ids"])

    def decode(self, ids: Sequence[int]) -> str:
        """Text of `ids` without special tokens, bytes that are no UTF-8 replaced."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes a token stands for, so that views can join tokens that split a character.

        Special tokens give their own text. Ids beyond the table (padded embeddings) give ``b""``.
        """
        token = self._by_id.get(token_id)
        if token is None:
            return b""
        if token_id in self.added:
            return token.encode()
        if self._byte_level:
            try:
                return token.translate(_BYTE_OF).encode("latin-1")
            except UnicodeEncodeError:
                return token.encode(errors="surrogatepass")
        if match := _BYTE_TOKEN.match(token):
            return bytes([int(match[1], 16)])
        return token.replace("\u2581", " ").encode(errors="surrogatepass")

    def text_of(self, token_id: int) -> str:
        """A token as the tokenizer stores it; "" for an id that it does not know."""
        return self._by_id.get(token_id, "")

    def table(self, size: int) -> dict[int, bytes]:
        """`token_bytes` of the ids below `size`, the width of the model's logits."""
        return {i: self.token_bytes(i) for i in range(size)}

    @cached_property
    def _by_id(self) -> dict[int, str]:
        return {i: token for token, i in self.tokens.items()}

    @cached_property
    def added(self) -> set[int]:
        """Ids of tokens that came on top of the trained ones, and of those with a meaning of their own."""
        return set(self.tokenizer.get_added_vocab().values()) | set(self.tokenizer.all_special_ids)

    @cached_property
    def _byte_level(self) -> bool:
        """Whether tokens are spelled in GPT-2's printable stand-ins for bytes."""
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        decoder = getattr(backend, "decoder", None)
        return decoder is not None and b'"ByteLevel"' in decoder.__getstate__()


def _byte_alphabet() -> dict[int, int]:
    """GPT-2's table: printable Latin-1 stands for itself, the other bytes for code points from 256 on.

    From code point to byte, as `str.translate` takes it.
    """
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    table = {b: b for b in printable}
    for offset, b in enumerate(b for b in range(256) if b not in set(printable)):
        table[256 + offset] = b
    return table


_BYTE_OF = _byte_alphabet()
