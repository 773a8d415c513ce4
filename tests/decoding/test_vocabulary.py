"""Token bytes must join to the text the tokenizer decodes: views have nothing else to go by."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers
from transformers import PreTrainedTokenizerFast

from decoding.vocabulary import Vocabulary
from tests.models import tiny_tokenizer

BYTE_LEVEL = Vocabulary(tiny_tokenizer(), [])


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=40))
def test_bytes_of_byte_level_tokens_join_to_the_text(text: str) -> None:
    ids = BYTE_LEVEL.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert b"".join(BYTE_LEVEL.token_bytes(i) for i in ids) == text.encode()


def _sentencepiece() -> PreTrainedTokenizerFast:
    """Llama-2's scheme in miniature: a meta symbol for spaces and tokens for single bytes."""
    vocab = {"<unk>": 0, "<s>": 1, "</s>": 2}
    for b in range(256):
        vocab[f"<0x{b:02X}>"] = len(vocab)
    for piece in ("▁", "a", "b", "▁a", "ab", "▁ab"):
        vocab[piece] = len(vocab)
    merges = [("▁", "a"), ("a", "b"), ("▁a", "b")]
    tokenizer = Tokenizer(models.BPE(vocab, merges, byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


@pytest.mark.parametrize("text", ["ab a", "ab é日", "b  a", "\t\n"])
def test_bytes_of_sentencepiece_tokens_join_to_the_text(text: str) -> None:
    vocabulary = Vocabulary(_sentencepiece(), [])
    ids = vocabulary.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert b"".join(vocabulary.token_bytes(i) for i in ids) == b" " + text.encode()


def test_special_tokens_show_their_name_and_padding_nothing() -> None:
    assert BYTE_LEVEL.token_bytes(2) == b"<|im_end|>"
    assert BYTE_LEVEL.token_bytes(10**6) == b""
    table = BYTE_LEVEL.table(400)
    assert table[2] == b"<|im_end|>"
    assert (len(table), table[399]) == (400, b"")


def test_every_end_token_counts() -> None:
    assert Vocabulary(tiny_tokenizer(), [0]).end_ids == {0, 2}


def test_the_chat_template_is_applied_where_there_is_one() -> None:
    with_chat = BYTE_LEVEL.decode(BYTE_LEVEL.encode_prompt("Hi"))
    assert with_chat.split() == ["user", "Hi", "assistant"]
    plain = Vocabulary(tiny_tokenizer(chat=False), [])
    assert plain.decode(plain.encode_prompt("Hi")) == "Hi"


def test_identity_is_that_of_the_token_table() -> None:
    same, other = (
        Vocabulary(tiny_tokenizer(chat=False), []),
        Vocabulary(tiny_tokenizer(extra="zebra zebra zebra"), []),
    )
    assert BYTE_LEVEL.identity == same.identity != other.identity
