"""How long texts are in tokens of the embedded target, chat template left out. Torch-free."""

from __future__ import annotations

from collections.abc import Sequence

from decoding.embedded import EMBEDDED, folder, is_ready

TOKENIZER = EMBEDDED.name
"""Whose tokens are counted."""


def token_lengths(texts: Sequence[str]) -> list[int] | None:
    """Tokens of each text; None while the embedded model has not been fetched."""
    if not is_ready():
        return None
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder() / "tokenizer.json"))
    tokenizer.no_truncation()
    return [len(found.ids) for found in tokenizer.encode_batch(list(texts), add_special_tokens=False)]
