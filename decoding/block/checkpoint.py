"""DFlash heads on disk: the authors' layout and that of `speculators`.

The tensors have the same names. Some files bring copies of the target's embedding and LM head. Authors count
``target_layer_ids`` by the layers whose outputs are read, `speculators` counts its ``aux_hidden_state_layer_ids`` by
transformers' ``hidden_states``, one more. The state behind the last layer is read after the target's final norm in the
authors' layout, as their code does, and before it in that of `speculators`, as vLLM does, which trains and serves those
heads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from spectui.decoding.block.head import BlockConfig, BlockHead, Sight
from spectui.decoding.block.markov import TYPES
from spectui.decoding.drafters.registry import DSPARK
from spectui.decoding.heads.config import (
    check_sizes,
    check_target,
    head_error,
    layer_fields,
    layer_kinds,
    layout,
    number,
    read_json,
    section,
    switch,
    verifier,
    vocabulary,
    whole_number,
    whole_numbers,
)
from spectui.decoding.heads.files import draft_ids, fill, read_weights, same_weights
from spectui.decoding.target.layer_inputs import BEFORE_NORM
from spectui.decoding.target.sizes import Sizes

_NAMES = {"own_embedding.weight": "embed_tokens.weight"}
_VARIANTS: dict[str, Any] = {
    "attention_sink_bias": False, "add_swa_attention_sink_bias": False, "attention_value_scale": None,
    "is_neox_style": True, "use_aux_hidden_state": True,
}  # fmt: skip
"""Keys of layers that vLLM knows and that are not built here, and what they say where they change nothing."""
_MASK_EMBEDDING = "mask_embedding.pt"
"""A file beside the others with an embedding of the mask token, which vLLM reads."""
_LARGEST_BLOCK = 1000
"""Bound of a block, all of whose rows are computed in each round."""
_WITHOUT_WINDOW = 28
"""Layers before the first one with a window in a Qwen3 configuration that does not say otherwise."""


def load_block_head(
    folder: Path,
    target: Any,
    *,
    device: torch.device | None = None,
    allow_pickle: bool = False,
) -> BlockHead:
    """The head in `folder`, for the causal language model `target`, in the target's type.

    Raises `DecodingError` in one line when a file is missing or damaged or, unless `allow_pickle`, pickled, when
    tensors are missing or of other shapes, or when the head was made for another target.
    """
    model = target.config.get_text_config()
    config = read_config(folder, layers=int(model.num_hidden_layers))
    _check_target(
        folder, config, hidden=model.hidden_size, vocab=model.vocab_size, layers=model.num_hidden_layers
    )
    stored = read_weights(folder, allow_pickle=allow_pickle)
    embedding = _borrowed(stored, "embed_tokens.weight", target.get_input_embeddings())
    if embedding is not None and config.mask_token >= (rows := int(embedding.weight.shape[0])):
        raise head_error(
            folder,
            f"has mask_token_id = {config.mask_token}, and the target has embeddings for {rows} tokens",
        )
    ids = draft_ids(
        folder, config.draft_vocab_size, config.vocab_size, stored.pop("d2t", None), stored.pop("t2d", None)
    )
    if _switch(folder, read_json(folder)[0], "enable_confidence_head") is None and config.markov is not None:
        config = replace(config, confident="confidence_head.proj.weight" in stored)
    if not config.confident:
        stored = {name: tensor for name, tensor in stored.items() if not name.startswith("confidence_head.")}
    output = None
    if _borrowed(stored, "lm_head.weight", target.get_output_embeddings()) is not None:
        if config.draft_vocab_size != config.vocab_size:
            raise head_error(
                folder,
                f"lacks the tensor 'lm_head.weight', which draft_vocab_size = {config.draft_vocab_size} needs; fetch "
                "it again",
            )
        output = target.get_output_embeddings
    with torch.device("meta"):
        head = BlockHead(config, embedding, output)
    fill(folder, head, stored, _NAMES, {"draft_ids": ids}, target.dtype)
    return head.to(device or target.device).eval()


def _borrowed(stored: dict[str, torch.Tensor], name: str, module: Any) -> Any:
    """The target's `module` where the files have none of that name, or a copy of it, which is dropped; else None."""
    if name in stored and not same_weights(module, stored[name]):
        return None
    stored.pop(name, None)
    return module


def read_config(folder: Path, *, layers: int) -> BlockConfig:
    """The configuration in `folder`, of either layout, for a target of `layers` layers. Raises `DecodingError`."""
    data, layer = read_json(folder)
    sizes = layer_fields(folder, data, layer, "DFlash head")
    for key, plain in _VARIANTS.items():
        if (stated := _value(folder, data, key)) not in (None, plain):
            raise head_error(
                folder, f"has {key} = {stated}, which spectui does not know; choose another head"
            )
    if (folder / _MASK_EMBEDDING).exists():
        raise head_error(folder, f"has a {_MASK_EMBEDDING}, which spectui does not read; choose another head")
    if data.get("target_hidden_size") not in (None, sizes["hidden_size"]):
        raise head_error(
            folder,
            f"has target_hidden_size = {data['target_hidden_size']} and is {sizes['hidden_size']} wide; a DFlash head "
            "is as wide as its target",
        )
    ours = "speculators_model_type" in data
    block, mask = _needed(folder, data, "block_size"), _needed(folder, data, "mask_token_id")
    vocab = vocabulary(folder, layer, "DFlash head")
    config = BlockConfig(
        **{**sizes, "qk_norm": True},
        vocab_size=vocab,
        draft_vocab_size=_whole(folder, data, "draft_vocab_size", vocab),
        feature_layers=_feature_layers(folder, data, sizes["num_hidden_layers"], layers),
        block_size=block,
        mask_token=mask,
        anchored=_anchored(folder, data),
        markov=_markov_type(folder, data),
        markov_rank=_whole(folder, data, "markov_rank", 0),
        confident=DSPARK.recognises(data) and bool(_switch(folder, data, "enable_confidence_head")),
        confidence_reads_token=_switch(folder, data, "confidence_head_with_markov") is not False,
        sights=tuple(_sights(folder, data, layer, sizes["num_hidden_layers"], ours=ours)),
        embedding_scale=_number(folder, data, "input_embedding_scale") or 1.0,
        output_multiplier=_number(folder, data, "output_multiplier") or 1.0,
        softcap=_number(folder, data, "final_logit_softcapping", zero=True) or None,
    )
    check_sizes(
        folder,
        {
            "vocab_size": config.vocab_size,
            "draft_vocab_size": config.draft_vocab_size,
            "block_size": config.block_size,
            "tokens drafted by its block_size": config.drafted,
        },
    )
    if not config.mask_token >= 0:
        raise head_error(folder, f"has mask_token_id = {config.mask_token}, which is no token")
    if config.block_size > _LARGEST_BLOCK:
        raise head_error(folder, f"has block_size = {config.block_size}, a size that no head has")
    _check_drafted(folder, data, config)
    return config


def describe(folder: Path, target: Sizes | None = None) -> str:
    """One line on the head in `folder`: its make, its layout, the target that it is for, what it drafts.

    Raises `DecodingError` as `read_config`, and where it is for another `target`.
    """
    data, _ = read_json(folder)
    known = _layers_known(folder, data)
    layers = target.layers if target is not None else known or 32
    config = read_config(folder, layers=layers)
    if target is not None:
        _check_target(folder, config, hidden=target.hidden, vocab=target.vocab, layers=target.layers)
    for_layers = f", {known} layers" if known else ""
    sliding = sum(sight.window is not None for sight in config.sights)
    parts = [
        f"{'a DFlash' if config.markov is None else 'a DSpark'} head in {layout(data)}",
        f"for {verifier(data) or 'a target'} of hidden size {config.hidden_size}{for_layers} and {config.vocab_size} "
        "tokens",
        f"{config.num_hidden_layers} Qwen3 layer{'s' if config.num_hidden_layers > 1 else ''}"
        f"{f', {sliding} sliding,' if sliding else ''} over "
        f"{(count := len(config.feature_layers))} hidden state{'s' if count > 1 else ''}",
        f"drafts chains and trees up to {config.drafted} deep (block_size {config.block_size}), of "
        f"{config.draft_vocab_size} tokens, in one forward a round"
        f"{', down to where its confidence head says (dynamic:NxD~C)' if config.confident else ''}",
    ]
    return "; ".join(parts)


def _layers_known(folder: Path, data: Mapping[str, Any]) -> int | None:
    """The layers of the target that a head is for; None where it does not say."""
    value = data.get("num_target_layers")
    if value is not None:
        check_sizes(folder, {"num_target_layers": whole_number(folder, "num_target_layers", value)})
    return value


def _anchored(folder: Path, data: Mapping[str, Any]) -> bool:
    """True where the root's row predicts: only as the file says for DFlash, unless it says otherwise for DSpark.

    SpecForge's own DSpark fills in, as DFlash does.
    """
    chosen = _switch(folder, data, "sample_from_anchor")
    if chosen is None:
        return DSPARK.recognises(data) and not section(folder, data, "dflash_config")
    return chosen


def _markov_type(folder: Path, data: Mapping[str, Any]) -> str | None:
    """The Markov head of a DSpark head; None for DFlash."""
    if not DSPARK.recognises(data):
        return None
    kind = str(_value(folder, data, "markov_head_type") or TYPES[0])
    if kind not in TYPES:
        raise head_error(folder, f"has markov_head_type = {kind}; spectui knows {', '.join(TYPES)}")
    check_sizes(folder, {"markov_rank": _needed(folder, data, "markov_rank")})
    return kind


def _value(folder: Path, data: Mapping[str, Any], key: str) -> Any:
    """A setting at the top of a configuration or in ``dflash_config``; None where it is in neither."""
    inner = section(folder, data, "dflash_config").get(key)
    top = data.get(key)
    if None not in (inner, top) and inner != top:
        raise head_error(
            folder, f"has {key} = {top} and in its dflash_config {key} = {inner}; its config.json is damaged"
        )
    return top if inner is None else inner


def _number(folder: Path, data: Mapping[str, Any], key: str, *, zero: bool = False) -> float | None:
    value = _value(folder, data, key)
    return None if value is None else number(folder, key, value, zero=zero)


def _whole(folder: Path, data: Mapping[str, Any], key: str, otherwise: int) -> int:
    value = _value(folder, data, key)
    return otherwise if value is None else whole_number(folder, key, value)


def _switch(folder: Path, data: Mapping[str, Any], key: str) -> bool | None:
    value = _value(folder, data, key)
    return None if value is None else switch(folder, key, value)


def _needed(folder: Path, data: Mapping[str, Any], key: str) -> int:
    value = _value(folder, data, key)
    if type(value) is not int:
        raise head_error(
            folder, f"has no whole number {key} in its config.json (it is {value!r}); fetch it again"
        )
    return value


def _feature_layers(folder: Path, data: Mapping[str, Any], count: int, layers: int) -> tuple[int, ...]:
    if "speculators_model_type" in data:
        key = "aux_hidden_state_layer_ids"
        listed = whole_numbers(folder, key, data.get(key))
        states = tuple(BEFORE_NORM if i == layers else i for i in listed)
    else:
        key = "target_layer_ids"
        ids = _value(folder, data, key)
        if ids is None:
            ids = (
                [layers // 2]
                if count == 1
                else [round(1 + i * (layers - 4) / (count - 1)) for i in range(count)]
            )
        states = tuple(i + 1 for i in whole_numbers(folder, key, ids))
    if not states or not all(i == BEFORE_NORM or 0 <= i <= layers for i in states):
        raise head_error(
            folder,
            f"reads {', '.join(map(str, states)) or 'none'} of its target's hidden states ({key}), and the target has "
            f"{layers} layers; choose its own head",
        )
    return states


def _sights(
    folder: Path, data: Mapping[str, Any], layer: Mapping[str, Any], count: int, *, ours: bool
) -> list[Sight]:
    inner = section(folder, data, "dflash_config")
    key = "sliding_window" if inner.get("swa_window_size") is None else "swa_window_size"
    uses_window = switch(folder, "use_sliding_window", layer.get("use_sliding_window"))
    window = inner.get(key) if key in inner else layer.get(key) if uses_window else None
    if window is not None:
        check_sizes(folder, {key: whole_number(folder, key, window)})
    kinds = layer_kinds(folder, layer)
    if kinds is None:
        first = layer.get("max_window_layers")
        first = _WITHOUT_WINDOW if first is None else whole_number(folder, "max_window_layers", first)
        kinds = ["sliding_attention" if window and i >= first else "full_attention" for i in range(count)]
    if len(kinds) != count:
        raise head_error(
            folder, f"has num_hidden_layers = {count} and other layer_types; its config.json is damaged"
        )
    if unknown := sorted(set(kinds) - {"full_attention", "sliding_attention"}):
        raise head_error(folder, f"has layer_types with '{unknown[0]}', which spectui does not know")
    # vLLM's key: a window in every layer where none is said to slide, and no order with it.
    everywhere = switch(folder, "use_swa", inner.get("use_swa")) and "sliding_attention" not in kinds
    if everywhere and window is None:
        raise head_error(
            folder, "has use_swa = True and no swa_window_size in its config.json; it is damaged"
        )
    causal: bool | None = None
    for causal_key, value in (("is_causal", data.get("is_causal")), ("causal", inner.get("causal"))):
        causal = switch(folder, causal_key, value) if causal is None and value is not None else causal
    non_causal = switch(folder, "sliding_window_non_causal", data.get("sliding_window_non_causal"))
    sights = []
    for kind in kinds:
        slides = in_order = kind == "sliding_attention"
        if ours:
            in_order = slides and window is not None and not non_causal
        sights.append(Sight(in_order if causal is None else causal, window if slides or everywhere else None))
    return sights


def _check_drafted(folder: Path, data: Mapping[str, Any], config: BlockConfig) -> None:
    """Raise where the block is smaller than the tokens that its maker says it drafts."""
    methods = section(folder, data, "speculators_config").get("proposal_methods")
    for method in methods if isinstance(methods, list) else ():
        tokens = method.get("speculative_tokens") if isinstance(method, Mapping) else None
        if type(tokens) is int and tokens > config.drafted:
            raise head_error(
                folder,
                f"has block_size = {config.block_size}, which drafts {config.drafted} tokens, and speculative_tokens = "
                f"{tokens}; its config.json is damaged",
            )


def _check_target(folder: Path, config: BlockConfig, *, hidden: int, vocab: int, layers: int) -> None:
    """Raise unless the head was made for a target of these sizes."""
    sizes = {"hidden size": (config.hidden_size, hidden), "vocabulary size": (config.vocab_size, vocab)}
    data, _ = read_json(folder)
    if (known := _layers_known(folder, data)) is not None:
        sizes = {"num_target_layers": (known, layers), **sizes}
    check_target(folder, sizes)
    if config.mask_token >= vocab:
        raise head_error(
            folder,
            f"has mask_token_id = {config.mask_token}, and the target has {vocab} tokens; choose its own head",
        )
