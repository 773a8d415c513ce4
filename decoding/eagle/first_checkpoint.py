"""EAGLE-1 and EAGLE-2 heads on disk: their authors' layout, vLLM's and that of `speculators` up to 0.8.

Authors call such a head a Llama of one layer; vLLM wraps their configuration (``model_type: eagle`` around ``model``).
Both name the tensors alike; `speculators` has ``fusion_fc`` and ``transformer.`` for ``fc`` and ``layers.0.``. Most
files bring a copy of the target's embedding, some of its LM head.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from spectui.decoding.eagle.first import FirstEagleHead, FirstHeadConfig
from spectui.decoding.heads.config import (
    check_sizes,
    check_target,
    head_error,
    layer_fields,
    layout,
    read_json,
    switch,
    verifier,
    vocabulary,
)
from spectui.decoding.heads.files import fill, read_weights, same_weights
from spectui.decoding.target.sizes import Sizes

_NAMES = {"own_embedding.weight": "embed_tokens.weight"}
_FAMILIES = (None, "llama", "mistral", "mixtral", "qwen2", "eagle")
"""Types of models whose layers are those that `DraftLayer` computes, but for biases. Heads for Mixtral have Llama's."""
_FC_BIAS = ("bias", "eagle_fc_bias", "fusion_bias")
"""Keys of the authors, vLLM and `speculators` for the bias of ``fc``."""
_VARIANTS = ("layernorms", "add_para_norm", "hot_token_id", "token_map")
"""Keys of variants that are not built here: more norms, and a vocabulary of their own."""


def load_first_head(
    folder: Path,
    target: Any,
    *,
    device: torch.device | None = None,
    allow_pickle: bool = False,
) -> FirstEagleHead:
    """The head in `folder`, for the causal language model `target`, in the target's type.

    Raises `DecodingError` in one line when a file is missing or damaged or, unless `allow_pickle`, pickled, when
    tensors are missing or of other shapes, or when the head was made for another target.
    """
    model = target.config.get_text_config()
    config = read_config(folder, layers=int(model.num_hidden_layers))
    _check_target(folder, config, hidden=model.hidden_size, vocab=model.vocab_size)
    stored = {
        _public(name): tensor for name, tensor in read_weights(folder, allow_pickle=allow_pickle).items()
    }
    config = _with_biases(folder, config, stored)
    for index in range(config.num_hidden_layers if config.attention_bias else 0):
        # Qwen2's layers have none there.
        stored.setdefault(f"layers.{index}.self_attn.o_proj.bias", torch.zeros(config.hidden_size))
    borrowed = {}
    for name, find in (
        ("embed_tokens.weight", target.get_input_embeddings),
        ("lm_head.weight", target.get_output_embeddings),
    ):
        if name not in stored or same_weights(find(), stored[name]):
            stored.pop(name, None)
            borrowed[name] = find
    with torch.device("meta"):
        head = FirstEagleHead(
            config, borrowed.get("embed_tokens.weight"), borrowed.get("lm_head.weight"), target.dtype
        )
    fill(folder, head, stored, _NAMES, {"draft_ids": torch.arange(config.vocab_size)}, target.dtype)
    return head.to(device or target.device).eval()


def read_config(folder: Path, *, layers: int) -> FirstHeadConfig:
    """The configuration in `folder`, of any layout, for a target of `layers` layers. Raises `DecodingError`."""
    data, layer = read_json(folder)
    sizes = layer_fields(folder, data, layer, "EAGLE-1 or EAGLE-2 head")
    kind = layer.get("model_type")
    if kind not in _FAMILIES:
        raise head_error(
            folder, f"has layers of model_type = {kind}, which spectui does not build for a head"
        )
    for key in _VARIANTS:
        if data.get(key) or layer.get(key):
            raise head_error(
                folder,
                f"has {key} = {data.get(key) or layer[key]}, which spectui does not know; choose another head",
            )
    vocab = vocabulary(folder, layer, "EAGLE-1 or EAGLE-2 head")
    config = FirstHeadConfig(**sizes, vocab_size=vocab, feature_layers=(layers,))
    check_sizes(folder, {"vocab_size": config.vocab_size})
    for key in ("draft_vocab_size", "truncated_vocab_size"):
        if data.get(key) not in (None, config.vocab_size):
            raise head_error(
                folder,
                f"has {key} = {data[key]} of {config.vocab_size} tokens; spectui knows EAGLE-1 and EAGLE-2 heads that "
                "predict all of them: choose another",
            )
    return config


def describe(folder: Path, target: Sizes | None = None) -> str:
    """One line on the head in `folder`: its make, its layout, the target that it is for, what it drafts.

    Raises `DecodingError` as `read_config`, and where it is for another `target`.
    """
    data, _ = read_json(folder)
    config = read_config(folder, layers=32 if target is None else target.layers)
    if target is not None:
        _check_target(folder, config, hidden=target.hidden, vocab=target.vocab)
    wrapped = isinstance(data.get("model"), Mapping)
    parts = [
        f"an EAGLE-1 or EAGLE-2 head in {'the layout of vLLM' if wrapped else layout(data)}",
        f"for {verifier(data) or 'a target'} of hidden size {config.hidden_size} and {config.vocab_size} tokens",
        f"{config.num_hidden_layers} Llama layer{'s' if config.num_hidden_layers > 1 else ''} over the last state",
        f"drafts trees of any depth, of {config.vocab_size} tokens, one forward a level",
    ]
    return "; ".join(parts)


def _with_biases(
    folder: Path, config: FirstHeadConfig, stored: Mapping[str, torch.Tensor]
) -> FirstHeadConfig:
    """`config` with the biases that the files have: makers leave them out of it, and differ in what is meant then."""
    data, layer = read_json(folder)
    there = "fc.bias" in stored
    for key in _FC_BIAS:
        stated = data.get(key, layer.get(key))
        if stated is not None and switch(folder, key, stated) != there:
            raise head_error(
                folder,
                f"has {key} = {stated} in its config.json and {'a' if there else 'no'} tensor 'fc.bias'; the files do "
                "not belong together",
            )
    attention = config.attention_bias or "layers.0.self_attn.q_proj.bias" in stored
    return replace(config, fc_bias=there, attention_bias=attention)


def _public(name: str) -> str:
    """The authors' name of a tensor of `speculators`."""
    return re.sub(r"^transformer\.", "layers.0.", re.sub(r"^fusion_fc\.", "fc.", name))


def _check_target(folder: Path, config: FirstHeadConfig, *, hidden: int, vocab: int) -> None:
    """Raise unless the head was made for a target of these sizes."""
    check_target(
        folder, {"hidden size": (config.hidden_size, hidden), "vocabulary size": (config.vocab_size, vocab)}
    )
