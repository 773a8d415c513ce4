"""Sizes of a model, by transformers' common names for what families name differently. No weights are read."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spectui.decoding.errors import DecodingError, explain_model_error
from spectui.decoding.target.rope_context import widened

PROVEN = frozenset(
    {
        "llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3", "gemma3_text", "phi3", "smollm3", "granite",
        "olmo2", "starcoder2",
    }
)  # fmt: skip
"""Model types with plain or sliding-window attention throughout, which the suite decodes trees with."""

_BLOCKS = frozenset({"mlp", "feed_forward", "block_sparse_moe", "moe", "ffn"})
"""Names of feed-forward blocks, which have no cache."""

NO_END = 2**31
"""The context of models that have no last position."""

_LLAMAS = frozenset({"llama", "mistral", "qwen2"})
"""Types whose ``config.json`` is complete once it names its key/value heads; transformers reads all others."""


@dataclass(frozen=True)
class Sizes:
    """Sizes of one model."""

    layers: int
    heads: int
    hidden: int
    inner: int
    """Width of a feed-forward block."""
    vocab: int
    context: int
    """Positions that the model has."""
    cached: int
    """Numbers that a token leaves in the cache: keys and values of all layers."""


def text_config(config: Any) -> Any:
    """The decoder's part of transformers' `config`."""
    return config.get_text_config(decoder=True)


def embedding_rows(model: Any) -> int:
    """Tokens that a loaded model can be fed: its tokenizer may know more."""
    weight = getattr(model.get_input_embeddings(), "weight", None)
    return int(text_config(model.config).vocab_size if weight is None else weight.shape[0])


def context_of(config: Any) -> int:
    """Positions of a text model's `config`: what it was made for, widened as its rotary scaling says."""
    positions = int(getattr(config, "max_position_embeddings", 0) or 0)
    return widened(positions, getattr(config, "rope_parameters", None)) or NO_END


def sizes_of(folder: Path, described: Mapping[str, Any]) -> Sizes:
    """The sizes of the model whose ``config.json`` in `folder` reads `described`.

    Raises `DecodingError` in one line where transformers finds no language model in it.
    """
    if described.get("model_type") in _LLAMAS and described.get("num_key_value_heads"):
        try:
            return of_llama(described)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
            pass  # transformers knows what is left out
    from transformers import AutoConfig

    try:
        return _of_transformers(AutoConfig.from_pretrained(folder, trust_remote_code=False))
    except Exception as error:  # transformers and its checks of fields meet whatever the file holds
        problem = f"model '{folder}' has a config.json that describes no language model"
        raise DecodingError(explain_model_error(folder, error, problem)) from error


def of_llama(config: Mapping[str, Any]) -> Sizes:
    """The sizes of a configuration with Llama's field names. Raises `KeyError` or `TypeError` for others."""
    heads, hidden = int(config["num_attention_heads"]), int(config["hidden_size"])
    layers = int(config["num_hidden_layers"])
    kv_heads = int(config.get("num_key_value_heads") or heads)
    width = int(config.get("head_dim") or hidden // heads)
    rope = config.get("rope_parameters") or config.get("rope_scaling")
    return Sizes(
        layers=layers,
        heads=heads,
        hidden=hidden,
        inner=int(config.get("intermediate_size") or 4 * hidden),
        vocab=int(config["vocab_size"]),
        context=widened(int(config.get("max_position_embeddings") or 0), rope) or NO_END,
        cached=2 * layers * kv_heads * width,
    )


def _of_transformers(config: Any) -> Sizes:
    text = copy.deepcopy(text_config(config))
    if getattr(text, "is_heterogeneous", False):
        text.allow_global_per_layer_attribute_access = True  # for what no layer is far from
    layers = int(text.num_hidden_layers)
    hidden = int(text.hidden_size)
    heads = int(getattr(text, "num_attention_heads", 0) or 1)
    return Sizes(
        layers=layers,
        heads=heads,
        hidden=hidden,
        inner=_most(getattr(text, "intermediate_size", None)) or 4 * hidden,
        vocab=int(text.vocab_size),
        context=context_of(text),
        cached=_cached(config, text, layers, hidden, heads),
    )


def _most(sizes: Any) -> int:
    """The largest, where layers have sizes of their own."""
    return int(max(sizes, default=0) if isinstance(sizes, list | tuple) else sizes or 0)


def _cached(config: Any, text: Any, layers: int, hidden: int, heads: int) -> int:
    """Numbers that a token leaves in the cache: in that of a model without weights, unless the family is plain."""
    width = int(getattr(text, "head_dim", 0) or hidden // heads)
    alike = 2 * layers * int(getattr(text, "num_key_value_heads", 0) or heads) * width
    if config.model_type in PROVEN:
        return alike
    for without_blocks in (False, True):
        seen, whole = _seen_in_cache(config, without_blocks=without_blocks)
        if whole and seen:
            return sum(seen)
    # Where a layer cannot go on without numbers, the others are taken to be like those before it.
    return sum(seen) * layers // len(seen) if seen else alike


def _seen_in_cache(config: Any, *, without_blocks: bool) -> tuple[list[int], bool]:
    """Numbers per token in each layer's keys and values, and whether the forward came to its end.

    The model has no weights, and what has to look at numbers fails in it: mostly feed-forward blocks, which can be
    left out.
    """
    import torch
    from transformers import AutoModelForCausalLM

    from spectui.decoding.target.cache import TreeCache

    config = copy.deepcopy(config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    cache, whole = TreeCache(), True
    try:
        with torch.device("meta"), torch.inference_mode():
            model = AutoModelForCausalLM.from_config(
                config, dtype=torch.bfloat16, trust_remote_code=False
            ).eval()
            if without_blocks:
                for module in list(model.modules()):
                    for name, _ in list(module.named_children()):
                        if name in _BLOCKS:
                            setattr(module, name, torch.nn.Identity())
            ids = torch.zeros(1, 2, dtype=torch.int64)
            model(input_ids=ids, position_ids=torch.arange(2)[None], past_key_values=cache, use_cache=True)
    except Exception:
        whole = False
    layers: list[Any] = [layer for layer in cache.layers if layer.is_initialized]
    return [sum(x.shape[1] * x.shape[3] for x in (layer.keys, layer.values)) for layer in layers], whole
