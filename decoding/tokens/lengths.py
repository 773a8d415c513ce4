"""Lengths of texts in tokens of the embedded target, chat template left out. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from spectui.decoding.checkpoints.embedded import EMBEDDED, folder, is_ready

TOKENIZER = EMBEDDED.name
"""The model whose tokens are counted."""

MOST_TEXT = 16 << 20
"""Characters of all texts together beyond which nothing is counted: that would take minutes."""
PIECE = 1 << 16
"""Characters that are counted at a time: a token takes a hundred bytes of memory while it is."""
BATCH = 1 << 20


def token_lengths(texts: Sequence[str]) -> list[int] | None:
    """Tokens of each text; None where `uncounted_reason` has one.

    Of texts longer than `PIECE` the pieces are counted, so that each border may make one more.
    """
    if uncounted_reason(texts):
        return None
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder() / "tokenizer.json"))
    tokenizer.no_truncation()
    lengths = [0] * len(texts)
    for batch in _batches(texts):
        encodings = tokenizer.encode_batch_fast([piece for _, piece in batch], add_special_tokens=False)
        for (index, _), encoding in zip(batch, encodings, strict=True):
            lengths[index] += len(encoding.ids)
    return lengths


def uncounted_reason(texts: Sequence[str]) -> str:
    """The reason for which the tokens of these texts are not counted; "" where they are."""
    if not is_ready():
        return f"tokens are those of {TOKENIZER}, which is not here yet: spectui models pull"
    if sum(map(len, texts)) > MOST_TEXT:
        return f"tokens are not counted: there are more than {MOST_TEXT >> 20} million characters"
    return ""


def _batches(texts: Sequence[str]) -> Iterator[list[tuple[int, str]]]:
    """Pieces of texts with the place of each text, about `BATCH` characters at a time."""
    batch: list[tuple[int, str]] = []
    size = 0
    for index, text in enumerate(texts):
        for start in range(0, len(text), PIECE):
            piece = text[start : start + PIECE]
            batch.append((index, piece))
            size += len(piece)
            if size >= BATCH:
                yield batch
                batch, size = [], 0
    if batch:
        yield batch
