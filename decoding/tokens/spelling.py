"""The bytes that one token adds to a text, from the decoder of its tokenizer."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from typing import Any

Join = Callable[[list[str]], str]
"""The text of tokens as the tokenizer stores them."""

_BYTE_TOKEN = re.compile(r"^<0x([0-9A-Fa-f]{2})>$")
_UNKNOWN = "\ufffd"
"""The character that decoders give for bytes that are no character by themselves."""

_ANCHORS = (("x", "x"), ("x@@", "x"))
"""Tokens around the one that is spelled, which is then neither the first nor the last of a text: decoders add and strip
spaces there. The first starts a word that goes on in the next token: a bare letter does, or one marked by ``@@``."""

_SAMPLES = 48
"""Tokens on which the anchors are tried."""


class Spelling:
    """The bytes of single tokens of `tokenizer`, such that those of a text join to the result of `decode`.

    The ends of a text may differ, where decoders strip a space. `tokens` are some to try the anchors on. `rule`
    identifies the decoder; "" for the byte-level ones.
    """

    def __init__(self, tokenizer: Any, tokens: Sequence[str]) -> None:
        backend = getattr(tokenizer, "backend_tokenizer", None)
        decoder = getattr(backend, "decoder", None)
        state = b"" if decoder is None else decoder.__getstate__()
        self._byte_level = b'"ByteLevel"' in state
        self.rule = ""
        if self._byte_level and b'"Sequence"' not in state:
            return
        if backend is None:
            self._join: Join = tokenizer.convert_tokens_to_string
            self.rule = type(tokenizer).__name__
        else:
            self._join = " ".join if decoder is None else decoder.decode
            self.rule = state.decode(errors="replace") or "none"
        if _cleans_up(tokenizer, backend):
            join, clean = self._join, tokenizer.clean_up_tokenization
            self._join = lambda tokens: str(clean(join(tokens)))
            self.rule += " cleaned up"
        step = max(1, len(tokens) // _SAMPLES)
        some = list(tokens)[::step]
        self._before, self._after = next((pair for pair in _ANCHORS if self._holds(*pair, some)), _ANCHORS[0])
        self._end = self._between(self._before, self._after, [])

    def bytes_of(self, token: str) -> bytes:
        """The bytes that `token` adds behind another one."""
        if not self.rule:
            return _byte_level(token)
        text = self._inner(self._before, self._after, [token], self._end)
        if text is None:
            text = token.replace("\u2581", " ")
        if _UNKNOWN in text and _UNKNOWN not in token:
            if match := _BYTE_TOKEN.match(token):
                return bytes([int(match[1], 16)])
            if self._byte_level:
                return _byte_level(token)
        return text.encode(errors="surrogatepass")

    def _between(self, before: str, after: str, tokens: list[str]) -> str | None:
        """The text of `tokens` and of `after`, behind `before`; None where the decoder makes something else of it."""
        try:
            text = self._join([before, *tokens, after])
        except Exception:  # whatever code a tokenizer has
            return None
        return text[1:] if text[:1] == before[0] else None

    def _inner(self, before: str, after: str, tokens: list[str], end: str | None) -> str | None:
        text = self._between(before, after, tokens)
        if text is None or not end or not text.endswith(end):
            return None
        return text[: len(text) - len(end)]

    def _holds(self, before: str, after: str, tokens: list[str]) -> bool:
        """True when the texts of two tokens are, one behind the other, the text of both."""
        end = self._between(before, after, [])
        for pair in itertools.pairwise(tokens):
            first, second, joined = (
                self._inner(before, after, list(part), end) for part in (pair[:1], pair[1:], pair)
            )
            if first is None or second is None or joined is None:
                return False
            if _UNKNOWN not in joined and first + second != joined:
                return False
        return True


def _cleans_up(tokenizer: Any, backend: Any) -> bool:
    """True when `decode` takes away spaces before punctuation; for BPE transformers does not, unless forced to."""
    if not getattr(tokenizer, "clean_up_tokenization_spaces", False):
        return False
    forced = getattr(
        tokenizer, "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output", False
    )
    return bool(forced) or backend is None or type(backend.model).__name__ != "BPE"


def _byte_level(token: str) -> bytes:
    """The bytes of a token in GPT-2's alphabet for bytes; one that has other characters stands for itself."""
    try:
        return token.translate(_BYTE_OF).encode("latin-1")
    except UnicodeEncodeError:
        return token.encode(errors="surrogatepass")


def _byte_alphabet() -> dict[int, int]:
    """GPT-2's table: printable Latin-1 stands for itself, the other bytes for code points from 256 on.

    From code point to byte, as `str.translate` takes it; the code points of those other bytes stand for nothing, and
    go where no byte is.
    """
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in set(printable)]
    table = {b: b for b in printable} | dict.fromkeys(others, 0xFFFF)
    return table | {256 + offset: b for offset, b in enumerate(others)}


_BYTE_OF = _byte_alphabet()
