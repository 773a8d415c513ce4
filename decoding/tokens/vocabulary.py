"""The target's tokenizer: ids of prompts, and bytes of tokens."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import Any

from spectui.decoding.errors import DecodingError
from spectui.decoding.tokens.chat import PromptInput, Tell, plain, render, template_of
from spectui.decoding.tokens.spelling import Spelling

NO_SWITCHES: Mapping[str, Any] = MappingProxyType({})


class Vocabulary:
    """Wraps a Hugging Face tokenizer.

    `end_ids` holds every token that ends an output, those that the model's settings name and the tokenizer's own;
    `model_end_ids` only the former, at which transformers' `generate` stops, as long as there are any.
    """

    def __init__(self, tokenizer: Any, end_ids: Sequence[int], rows: int | None = None) -> None:
        self.tokenizer = tokenizer
        self.rows = rows
        """Tokens that the model has embeddings for; None where no model is known."""
        tokenizers_end = frozenset({tokenizer.eos_token_id} - {None})
        self.end_ids = frozenset(end_ids) | tokenizers_end
        self.model_end_ids = frozenset(end_ids) or tokenizers_end

    @cached_property
    def tokens(self) -> dict[str, int]:
        """Every token's text as the tokenizer stores it, and its id."""
        return dict(self.tokenizer.get_vocab())

    @cached_property
    def identity(self) -> str:
        """A name of the vocabulary, equal for equal token tables, so that sessions share their bytes.

        The way from tokens to bytes is part of it; but for byte-level ones, whose bytes have always been these.
        """
        canonical = json.dumps(sorted(self.tokens.items(), key=lambda item: item[1]))
        added = [i for i in self.added - self.special if self.token_bytes(i) != self.text_of(i).encode()]
        if self._spelling.rule or added:
            canonical += f"{self._spelling.rule}{sorted(added)}"
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    def encode_prompt(
        self, content: PromptInput, switches: Mapping[str, Any] = NO_SWITCHES, tell: Tell = lambda note: None
    ) -> list[int]:
        """Ids of one user turn, or of a conversation, through the chat template, as plain text where there is none.

        `switches` are variables for the template; `tell` gets notes on changes that nobody asked for. Raises
        `DecodingError` where the template refuses it, or makes tokens that the model has no embedding for.
        """
        if template_of(self.tokenizer):
            rendered = render(self.tokenizer, content, switches, tell)
            ids = list(self.tokenizer(rendered, add_special_tokens=False)["input_ids"])
        else:
            ids = list(self.tokenizer(plain(content, tell))["input_ids"])
        if self.rows is not None:
            self.check(ids, self.rows)
        return ids

    def check(self, ids: Sequence[int], rows: int) -> None:
        """Raise `DecodingError` naming the first of `ids` that is none of the `rows` tokens of a model.

        Looking one up is an `IndexError` on a CPU, and on a GPU the end of the process.
        """
        beyond = next((i for i in ids if not 0 <= i < rows), None)
        if beyond is None:
            return
        text = f" ({self.text_of(beyond)!r})" if beyond in self._by_id else ""
        raise DecodingError(
            f"the prompt holds token {beyond}{text}, and the model has embeddings for tokens 0 to {rows - 1} only; its "
            "tokenizer or chat template does not belong to its weights"
        )

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
        return token.encode() if token_id in self.special else self._spelling.bytes_of(token)

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
    def special(self) -> set[int]:
        """Ids of tokens that `decode` leaves out of a text."""
        known = getattr(self.tokenizer, "added_tokens_decoder", {})
        return {i for i, token in known.items() if token.special} | set(self.tokenizer.all_special_ids)

    @cached_property
    def _spelling(self) -> Spelling:
        return Spelling(self.tokenizer, list(self.tokens))


def check_same_vocabulary(target: Vocabulary, draft: Vocabulary, target_name: str, draft_name: str) -> None:
    """Raise `DecodingError` with the first differing entry unless both map the same tokens to the same ids.

    Embeddings may be padded to other sizes, and tokens that were added to only one of the two do no harm: no id stands
    for two of them.
    """
    if target.tokens == draft.tokens:
        return
    of_target = {i: token for token, i in target.tokens.items()}
    of_draft = {i: token for token, i in draft.tokens.items()}
    different = [
        i
        for i in of_target.keys() | of_draft.keys()
        if of_target.get(i) != of_draft.get(i)
        and not (i not in of_target and i in draft.added)
        and not (i not in of_draft and i in target.added)
    ]
    if not different:
        return
    first = min(different)
    raise DecodingError(
        f"draft '{draft_name}' and target '{target_name}' have different vocabularies: token {first} is "
        f"{of_draft.get(first)!r} in the draft and {of_target.get(first)!r} in the target; "
        "choose a draft of the target's family"
    )
