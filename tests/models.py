"""Small models made on the spot: real architectures, random weights, a real tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

_CORPUS = [
    "def merge(a, b):\n    out = []\n    while a and b:\n        out.append(a.pop(0) if a[0] < b[0] else b.pop(0))",
    "If every cat is an animal and Tom is a cat, then Tom is an animal. The answer is yes.",
    "A train leaves at 9:40 and takes 2 hours and 35 minutes. It arrives at 12:15.",
    "What would you cook for a friend who is late? Something warm; naïve but good — 日本語 too.",
]

_CHAT = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tiny_tokenizer(*, chat: bool = True, vocab_size: int = 384, extra: str = "") -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer trained on a few lines; `extra` changes its merges."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([*_CORPUS, extra], trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", bos_token="<|endoftext|>"
    )
    if chat:
        fast.chat_template = _CHAT
    return fast


def tiny_llama(
    folder: Path | None = None,
    *,
    vocab_size: int = 384,
    layers: int = 2,
    hidden: int = 32,
    context: int = 512,
    seed: int = 0,
    attention: str = "sdpa",
    tokenizer: PreTrainedTokenizerFast | None = None,
) -> LlamaForCausalLM:
    """A random Llama with grouped-query attention, saved to `folder` with its tokenizer when one is given.

    The weights are wide enough for greedy outputs to wander instead of repeating one token.
    """
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=context,
        initializer_range=0.25,
        eos_token_id=2,
        bos_token_id=0,
        pad_token_id=0,
        tie_word_embeddings=False,
        attn_implementation=attention,
    )
    model = LlamaForCausalLM(config).eval()
    if folder is not None:
        model.save_pretrained(folder)
        (tokenizer or tiny_tokenizer()).save_pretrained(folder)
    return model


def cut_down(model: Any, folder: Path, layers: int, tokenizer: Any) -> None:
    """Save the first `layers` layers of `model` as a model of their own: a draft that half agrees."""
    state = {
        name: value
        for name, value in model.state_dict().items()
        if not name.startswith("model.layers.") or int(name.split(".")[2]) < layers
    }
    config = type(model.config).from_dict(
        {**model.config.to_dict(), "num_hidden_layers": layers, "layer_types": None}
    )
    small = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
    small.load_state_dict(state, strict=False)
    small.tie_weights()
    small.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def greedy_reference(model: Any, ids: list[int], new_tokens: int) -> list[int]:
    """transformers' own greedy `generate`: the tokens after the prompt."""
    with torch.inference_mode():
        out = model.generate(
            torch.tensor([ids]),
            attention_mask=torch.ones(1, len(ids), dtype=torch.long),
            do_sample=False,
            max_new_tokens=new_tokens,
            pad_token_id=0,
        )
    return [int(t) for t in out[0, len(ids) :]]
