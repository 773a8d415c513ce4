"""Protects the conversion: a wrongly mapped or rotated weight gives fluent nonsense, never an error."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from gguf.quants import quantize
from safetensors.numpy import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from spectui.decoding.checkpoints.gguf import WEIGHTS, convert
from spectui.decoding.errors import DecodingError
from tests.decoding.checkpoints.tiny_wheel import TEMPLATE, vocabulary, write_gguf


def tiny(*, tied: bool = False) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocabulary()),
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        rope_parameters={"rope_type": "default", "rope_theta": 5000.0},
        initializer_range=0.2,
        tie_word_embeddings=tied,
    )
    model = LlamaForCausalLM(config).eval()
    for weight in model.parameters():  # the conversion writes halves
        weight.data = weight.data.half().float()
    return model


@pytest.mark.parametrize("tied", [False, True])
def test_the_converted_model_computes_what_the_original_does(tmp_path: Path, tied: bool) -> None:
    original = tiny(tied=tied)
    write_gguf(tmp_path / "m.gguf", original)
    told: list[tuple[float, float]] = []
    convert(tmp_path / "m.gguf", tmp_path, lambda done, total: told.append((done, total)))
    converted = AutoModelForCausalLM.from_pretrained(tmp_path, dtype="auto").eval()
    ids = torch.tensor([[1, 5, 9, 40, 7, 12, 80, 3]])
    with torch.inference_mode():
        assert torch.equal(converted(ids).logits, original(ids).logits)
    assert {t.dtype for t in load_file(tmp_path / WEIGHTS).values()} == {np.dtype(np.float16)}
    assert converted.dtype == torch.float32
    assert converted.config.tie_word_embeddings is tied
    assert converted.generation_config.eos_token_id == 2
    assert told[-1][0] == told[-1][1] > 0
    assert told == sorted(told)


def test_quantised_weights_come_out_as_they_were_stored(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(len(vocabulary()), 64)).astype(np.float32)
    blocks = quantize(values, gguf.GGMLQuantizationType.Q8_0)
    write_gguf(tmp_path / "plain.gguf", tiny(tied=True))
    reader = gguf.GGUFReader(tmp_path / "plain.gguf")
    # The same file with its embedding in blocks of 32 int8 values behind one float16 scale.
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "llama")
    for field in reader.fields.values():
        if not field.name.startswith("GGUF.") and field.name != "general.architecture":
            inner = field.types[1] if len(field.types) > 1 else None
            writer.add_key_value(field.name, field.contents(), field.types[0], sub_type=inner)
    for tensor in reader.tensors:
        if tensor.name == "token_embd.weight":
            writer.add_tensor(tensor.name, blocks, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
        else:
            writer.add_tensor(tensor.name, tensor.data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    convert(tmp_path / "m.gguf", tmp_path, lambda done, total: None)
    weights = load_file(tmp_path / WEIGHTS)["model.embed_tokens.weight"]
    raw = blocks.reshape(-1, 34)
    scales = raw[:, :2].copy().view(np.float16).astype(np.float32)
    expected = (scales * raw[:, 2:].copy().view(np.int8)).reshape(values.shape)
    assert np.array_equal(weights, expected.astype(np.float16))


def test_the_tokenizer_splits_digits_and_gives_every_text_back(tmp_path: Path) -> None:
    write_gguf(tmp_path / "m.gguf", tiny())
    convert(tmp_path / "m.gguf", tmp_path, lambda done, total: None)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    # "1 2" and "Ġ 1" are merges that the splitting of digits must keep from being applied.
    assert tokenizer.convert_ids_to_tokens(tokenizer("the the  12").input_ids) == [
        "the",
        "Ġthe",
        "ĠĠ",
        "1",
        "2",
    ]
    for text in ("naïve — 日本語 🙂\r\n\tx", "½ Ⅷ ٣", "\x00\x1b[31m", "a<eos>b", "  "):
        assert tokenizer.decode(tokenizer(text).input_ids) == text
    assert tokenizer("<eos>").input_ids == [2]
    assert tokenizer.decode([2, 30], skip_special_tokens=True) == vocabulary()[30]
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (1, 2, 2)
    assert tokenizer.model_max_length == 256
    assert tokenizer.chat_template == TEMPLATE


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"architecture": "qwen2"}, "'qwen2' model, not a Llama"),
        ({"pre": "llama-bpe"}, "'gpt2/llama-bpe' tokenizer"),
    ],
)
def test_a_gguf_of_another_kind_is_refused_in_words(
    tmp_path: Path, changes: dict[str, str], reason: str
) -> None:
    write_gguf(tmp_path / "m.gguf", tiny(), **changes)
    with pytest.raises(DecodingError, match=reason):
        convert(tmp_path / "m.gguf", tmp_path, lambda done, total: None)


def test_something_else_than_gguf_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(b"no such thing" * 100)
    with pytest.raises(DecodingError, match=r"m\.gguf is not a GGUF file"):
        convert(tmp_path / "m.gguf", tmp_path, lambda done, total: None)
