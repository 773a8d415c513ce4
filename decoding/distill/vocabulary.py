"""Stage 2: the draft vocabulary, chosen by frequency in the target's text, and the token of masked pairs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spectui.decoding.distill.generate import Template
from spectui.decoding.distill.shards import Shards
from spectui.decoding.errors import DecodingError
from spectui.decoding.tokens.vocabulary import Vocabulary
from spectui.decoding.trees.shape import BoolArray, IntArray

HELD_BACK = 50
"""Every so many-th sequence (by number) is kept out of training and counts, for validation."""

SIZES = (2048, 4096, 6144, 8192, 10_240, 12_288, 16_384, 20_480, 24_576)
"""Draft vocabularies whose coverage is reported, so that the size is a choice and not a guess."""


def held_back(data: Shards) -> BoolArray:
    """True for sequences that validate instead of training, ``[S]``; by number, so that more data moves none."""
    mask: BoolArray = data.index[:, 5] % HELD_BACK == 0
    return mask


def counts(data: Shards, which: Sequence[int], vocab_size: int) -> IntArray:
    """Occurrences of each token in the responses of the sequences `which`, ``[V]``."""
    total = np.zeros(vocab_size, dtype=np.int64)
    for index in which:
        total += np.bincount(data.response(index), minlength=vocab_size)
    return total


def choose(occurrences: IntArray, size: int, always: Sequence[int]) -> list[int]:
    """The `size` most frequent tokens, ascending; `always` (end tokens) are among them.

    Tokens never seen fill up from the lowest id: tokenizers number frequent merges first.
    Raises `DecodingError` when the text is a single loop, from which no head learns.
    """
    if not occurrences.sum() or np.count_nonzero(occurrences) < 8:
        raise DecodingError(
            f"the training text has {np.count_nonzero(occurrences)} different tokens: the target only repeats "
            "itself; check it with `spectui run`"
        )
    order = np.lexsort((np.arange(len(occurrences)), -occurrences))
    chosen = list(dict.fromkeys([*always, *order.tolist()]))[: min(size, len(occurrences))]
    return sorted(int(token) for token in chosen)


def coverage(seen: IntArray, chosen: Sequence[int]) -> float:
    """Share of the counted tokens that are among `chosen`."""
    return float(seen[list(chosen)].sum() / max(1, seen.sum()))


def coverage_by_size(train: IntArray, validation: IntArray) -> dict[str, list[float]]:
    """Coverage of the `SIZES` most frequent training tokens: in training and in validation text."""
    out = {}
    for size in (s for s in SIZES if s < len(train)):
        chosen = choose(train, size, ())
        out[str(size)] = [round(coverage(train, chosen), 4), round(coverage(validation, chosen), 4)]
    return out


def mask_token(vocabulary: Vocabulary, rows: int) -> int:
    """A token that texts do not have, of `rows`, for the masked pairs of a P-EAGLE head.

    The last special one that neither stands in the chat template nor ends, begins or pads texts: families reserve
    such. Without one, the last row of the embedding, which most have beyond their tokenizer's tokens.
    """
    tokenizer, template = vocabulary.tokenizer, Template.of(vocabulary)
    used = {*tokenizer(template.before)["input_ids"], *template.after, *vocabulary.end_ids}
    used |= {tokenizer.bos_token_id, tokenizer.pad_token_id, tokenizer.unk_token_id}
    return max((token for token in vocabulary.special - used if token < rows), default=rows - 1)
