"""Token bytes must join to the text the tokenizer decodes: views have nothing else to go by."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers
from transformers import PreTrainedTokenizerFast
from transformers.tokenization_python import PythonBackend

from spectui.decoding.tokens.vocabulary import Vocabulary
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


def _fast(
    model: models.Model, decoder: decoders.Decoder | None, added: Sequence[str] = ()
) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(model)
    if decoder is not None:
        tokenizer.decoder = decoder
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in added])
    tokenizer.add_special_tokens(["<s>", "</s>"])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")


def _bpe(pieces: Sequence[str], **options: Any) -> models.Model:
    return models.BPE({piece: i for i, piece in enumerate(pieces)}, [], **options)


class _Joined(PythonBackend):  # type: ignore[misc]
    """A tokenizer in Python, as CTRL's and XLM's are: `mark` at the end of pieces says where words go on or end."""

    def __init__(self, pieces: Sequence[str], mark: str, **options: Any) -> None:
        self._pieces, self._mark = list(pieces), mark
        super().__init__(**options)

    @property
    def vocab_size(self) -> int:
        return len(self._pieces)

    def get_vocab(self) -> dict[str, int]:
        return {**{piece: i for i, piece in enumerate(self._pieces)}, **self.added_tokens_encoder}

    def _convert_id_to_token(self, index: int) -> str:
        return self._pieces[index]

    def _convert_token_to_id(self, token: str) -> int:
        return self._pieces.index(token)

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        if self._mark == "@@":
            return " ".join(tokens).replace("@@ ", "").strip()
        return "".join(tokens).replace(self._mark, " ").strip()


def _cleaned(tokenizer: Any) -> Any:
    tokenizer.clean_up_tokenization_spaces = True
    return tokenizer


_WORDS = ["a", "b", "un", "do", "ing", ".", "x", "日", "é"]
_MARKED = [*_WORDS, "▁a", "▁un", "▁", "▁▁", "a▁b", "do▁"]
_REPLACE = decoders.Replace("▁", " ")
KINDS: dict[str, Callable[[], Any]] = {
    "byte level": lambda: tiny_tokenizer(chat=False),
    "byte level with added tokens": lambda: _fast(
        _bpe(["a", "b", "Ġa", "Ċ"]), decoders.ByteLevel(), ["▁▁", "two words", "<think>", "Ġ"]
    ),
    "byte level in a sequence": lambda: _fast(
        _bpe(["a", "b", "Ġa", "Ċ", "æĹ¥"]), decoders.Sequence([decoders.ByteLevel(), decoders.Fuse()]), ["<think>"]
    ),
    "gemma": lambda: _fast(
        _bpe(_MARKED), decoders.Sequence([_REPLACE, decoders.ByteFallback(), decoders.Fuse()]),
        ["▁▁▁▁", "▁▁▁", "<h1>", "\n\n"],
    ),
    "llama": lambda: _fast(
        _bpe(_MARKED),
        decoders.Sequence([_REPLACE, decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]), ["▁▁▁▁"],
    ),
    "stripped by token": lambda: _fast(_bpe(_MARKED), decoders.Sequence([_REPLACE, decoders.Strip(" ", 1, 0)])),
    "metaspace": lambda: _fast(_bpe(_MARKED), decoders.Metaspace(), ["▁▁▁▁"]),
    "metaspace without prefix": lambda: _fast(_bpe(_MARKED), decoders.Metaspace(prepend_scheme="never")),
    "another mark": lambda: _fast(_bpe([*_WORDS, "_a", "_un", "__"]), decoders.Metaspace("_"), ["___"]),
    "wordpiece": lambda: _fast(
        models.WordPiece({w: i for i, w in enumerate([*_WORDS, "##a", "##ing", "##日", "n't", "'s"])}, unk_token="a"),
        decoders.WordPiece(), ["##added", "[MASK]"],
    ),
    "wordpiece cleaned up": lambda: _cleaned(
        _fast(models.WordPiece({w: i for i, w in enumerate([*_WORDS, "##a", "n't", ","])}, unk_token="a"),
              decoders.WordPiece(cleanup=False))
    ),
    "ends of words": lambda: _fast(
        _bpe([*_WORDS, "a</w>", "ing</w>", ".</w>"], end_of_word_suffix="</w>"), decoders.BPEDecoder("</w>")
    ),
    "no decoder": lambda: _fast(_bpe(_WORDS), None),
    "ctrl": lambda: _Joined([*_WORDS, "a@@", "un@@", "日@@"], "@@", eos_token="</s>"),
    "xlm": lambda: _Joined([*_WORDS, "a</w>", "un</w>", "日</w>"], "</w>", eos_token="</s>"),
    "sentencepiece in Python": lambda: _Joined(_MARKED, "▁", eos_token="</s>"),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_join_to_what_the_tokenizer_decodes(kind: str) -> None:
    """Of any tokens but special ones; at the ends of a text decoders strip spaces and keep marks."""
    vocabulary = Vocabulary(KINDS[kind](), [])
    ids = sorted(set(vocabulary.tokens.values()) - vocabulary.special)

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.sampled_from(ids), min_size=1, max_size=8))
    def check(chosen: list[int]) -> None:
        between = [vocabulary.tokens["a"], *chosen, vocabulary.tokens["a"]]
        joined = b"".join(vocabulary.token_bytes(i) for i in between).decode(errors="replace")
        assert joined.strip(" ") == vocabulary.decode(between).strip(" ")

    check()


def test_byte_tokens_beside_runs_of_spaces() -> None:
    """Gemma's scheme with its tokens for single bytes, which decode to nothing by themselves."""
    pieces = [*_MARKED, *(f"<0x{b:02X}>" for b in range(256))]
    decoder = decoders.Sequence([_REPLACE, decoders.ByteFallback(), decoders.Fuse()])
    vocabulary = Vocabulary(_fast(_bpe(pieces), decoder, ["▁▁▁▁"]), [])
    tokens = ["▁a", "<0xE6>", "<0x97>", "<0xA5>", "▁▁▁▁", "<0x0A>", "b"]
    ids = [vocabulary.tokens[token] for token in tokens]
    assert (
        b"".join(vocabulary.token_bytes(i) for i in ids).decode() == " a日    \nb" == vocabulary.decode(ids)
    )


def test_bytes_that_changed_have_another_identity() -> None:
    """Databases keep the bytes of a vocabulary for good: those of before must not stand among today's."""
    byte_level, plain = (Vocabulary(KINDS[kind](), []) for kind in ("byte level", "no decoder"))
    of_before = hashlib.sha256(
        json.dumps(sorted(byte_level.tokens.items(), key=lambda item: item[1])).encode()
    )
    assert byte_level.identity == of_before.hexdigest()[:16]
    same_tokens = Vocabulary(_fast(_bpe(_WORDS), decoders.Metaspace()), [])
    assert same_tokens.tokens == plain.tokens
    assert same_tokens.identity != plain.identity


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
