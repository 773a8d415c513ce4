"""Models of real shapes with random weights, made on the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from spectui.decoding.drafters.kind import DrafterKind
from spectui.decoding.drafters.registry import DRAFT_MODEL
from spectui.decoding.eagle.head import EagleHead, HeadConfig, default_feature_layers, set_draft_vocabulary
from spectui.decoding.models.load import LoadedModels, tune
from spectui.decoding.tokens.vocabulary import Vocabulary
from spectui.decoding.worker.memory import free_unused
from tests.bench.gpu_check.report import Setting
from tests.models import tiny_tokenizer

Sizes = dict[str, int]
LLAMA_2_7B: Sizes = {"vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
                     "num_attention_heads": 32, "num_key_value_heads": 32, "max_position_embeddings": 4096}  # fmt: skip
TINY_LLAMA: Sizes = {"vocab_size": 32000, "hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 22,
                     "num_attention_heads": 32, "num_key_value_heads": 4, "max_position_embeddings": 2048}  # fmt: skip
SMALL: Sizes = {"vocab_size": 512, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 6,
                "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 4096}  # fmt: skip
SMALL_DRAFT: Sizes = {**SMALL, "num_hidden_layers": 2}


def target_sizes(setting: Setting) -> Sizes:
    """Llama-2-7B's, or small ones."""
    return SMALL if setting.tiny else LLAMA_2_7B


def draft_sizes(setting: Setting) -> Sizes:
    """TinyLlama's, or small ones."""
    return SMALL_DRAFT if setting.tiny else TINY_LLAMA


def random_llama(
    sizes: Sizes, dtype: torch.dtype, device: torch.device, seed: int, spread: float = 2.0
) -> Any:
    """Random weights, with a `spread` of 2 wide enough for outputs to wander. As transformers makes it, not tuned."""
    torch.manual_seed(seed)
    config = LlamaConfig(**sizes, attn_implementation="sdpa", tie_word_embeddings=False)
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    model = model.to(dtype).to_empty(device=device).eval().requires_grad_(False)
    fresh = LlamaForCausalLM(LlamaConfig(**{**sizes, "num_hidden_layers": 1, "vocab_size": 8}))
    model.model.rotary_emb = fresh.model.rotary_emb.to(
        device
    )  # its angles are no weights: to_empty lost them
    fill(model, lambda name, width: 1.0 if "embed" in name else spread * width**-0.5)
    return model


@torch.no_grad()
def fill(model: torch.nn.Module, deviation: Callable[[str, int], float]) -> None:
    """Normal weights of a `deviation` by name and inputs, norms of one."""
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1:
            parameter.normal_(0.0, deviation(name, parameter.shape[1]))
        else:
            parameter.fill_(1.0)


def random_head(target: Any, columns: int, *, heads: Sizes | None = None, **variants: Any) -> EagleHead:
    """An EAGLE-3 head for `target` that predicts `columns` of its tokens, of the shape that published heads have."""
    model, layers = target.config, int(target.config.num_hidden_layers)
    config = HeadConfig(
        hidden_size=model.hidden_size,
        intermediate_size=model.intermediate_size,
        num_attention_heads=model.num_attention_heads,
        num_key_value_heads=(heads or {}).get("num_key_value_heads", model.num_key_value_heads),
        head_dim=model.hidden_size // model.num_attention_heads,
        vocab_size=model.vocab_size,
        draft_vocab_size=columns,
        target_hidden_size=model.hidden_size,
        feature_layers=default_feature_layers(layers) if layers > 5 else (0, layers // 2, layers - 1),
        **variants,
    )
    torch.manual_seed(2)
    head = EagleHead(config, target.get_input_embeddings()).to(target.device, target.dtype)
    head = head.eval().requires_grad_(False)
    fill(head, lambda _, width: width**-0.5)
    step = model.vocab_size // columns
    set_draft_vocabulary(head, range(0, step * columns, step))
    return head


def loaded(target: Any, draft: Any = None, kind: DrafterKind = DRAFT_MODEL) -> LoadedModels:
    """The models tuned as a run's are, whose texts only end where they have to; `kind` is that of `draft`."""
    models = LoadedModels(
        target, draft, Vocabulary(tiny_tokenizer(), []), kind if draft is not None else None
    )
    tune(models)
    return models


def prompt(length: int, start: int = 0) -> list[int]:
    """Tokens that every vocabulary has."""
    return [5 + (7 * i + start) % 300 for i in range(length)]


def free(setting: Setting) -> None:
    """Give memory of models that are gone back to the device."""
    if setting.on_gpu:
        free_unused()
