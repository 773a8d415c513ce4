"""EAGLE-3 heads on disk: the layout of the EAGLE authors and that of `speculators` (also vLLM's).

Both name the same tensors: ``midlayer.`` there is ``layers.0.`` here. ``d2t`` holds *offsets*: draft token i
is target token ``i + d2t[i]``; ``t2d`` marks the target's tokens that the head can predict. Without
``embed_tokens`` the head reads the target's embedding, without ``lm_head`` it predicts through the target's.
"""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from spectui.decoding.checkpoints.weight_files import HEAD_FILES, stored_names
from spectui.decoding.drafters.registry import PEAGLE
from spectui.decoding.eagle.head import EagleHead, HeadConfig, default_feature_layers
from spectui.decoding.heads.config import (
    LayerConfig,
    check_sizes,
    check_target,
    head_error,
    layer_fields,
    layer_kinds,
    layout,
    read_json,
    section,
    switch,
    verifier,
    vocabulary,
    whole_number,
    whole_numbers,
)
from spectui.decoding.heads.files import draft_ids, fill, public_tensors, read_weights
from spectui.decoding.target.layer_inputs import BEFORE_NORM
from spectui.decoding.target.sizes import Sizes
from spectui.store.files import replacing, write_text

_NAMES = {"own_embedding.weight": "embed_tokens.weight"}
_MASK_TOKEN = ("mask_token_id", "ptd_token_id", "pard_token")
"""Names of a P-EAGLE head's mask token, the first in `speculators`, the others in vLLM."""
_FAMILIES = (None, "llama", "qwen3")
_LISTED = "eagle_aux_hidden_state_layer_ids"


def load_head(
    folder: Path,
    target: Any,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | None = None,
    allow_pickle: bool = False,
) -> EagleHead:
    """The head in `folder`, for the causal language model `target`.

    `dtype` and `device` are the target's unless given. Raises `DecodingError` in one line when a file is
    missing or damaged or, unless `allow_pickle`, pickled, when tensors are missing or of other shapes, or when
    the head was made for another target.
    """
    model = target.config.get_text_config()
    layers = int(model.num_hidden_layers)
    config = read_config(folder, layers=layers)
    _check_target(folder, config, hidden=model.hidden_size, vocab=model.vocab_size, layers=layers)
    stored = read_weights(folder, allow_pickle=allow_pickle)
    ids = draft_ids(
        folder, config.draft_vocab_size, config.vocab_size, stored.pop("d2t", None), stored.pop("t2d", None)
    )
    if "mask_hidden" in stored:  # a row in some files
        stored["mask_hidden"] = stored["mask_hidden"].reshape(1, 1, -1)
    embedding, output = None, None
    if "embed_tokens.weight" not in stored:
        embedding = target.get_input_embeddings()
        _check_width(folder, "embedding", config, embedding.weight.shape[1])
    if "lm_head.weight" not in stored:
        _check_width(folder, "lm_head", config, model.hidden_size)
        if config.draft_vocab_size != config.vocab_size:
            raise head_error(
                folder,
                f"has no lm_head and draft_vocab_size = {config.draft_vocab_size}; the target's predicts "
                f"{config.vocab_size} tokens, so the lm_head is missing: fetch it again",
            )
        output = target.get_output_embeddings
        tied = switch(folder, "tie_word_embeddings", read_json(folder)[1].get("tie_word_embeddings"))
        if embedding is None and tied:
            stored["lm_head.weight"], output = stored["embed_tokens.weight"], None
    with torch.device("meta"):
        head = EagleHead(config, embedding, output)
    fill(folder, head, stored, _NAMES, {"draft_ids": ids}, dtype or target.dtype)
    return head.to(device or target.device).eval()


def save_head(head: EagleHead, folder: Path, *, target_name: str, dtype: torch.dtype = torch.float16) -> None:
    """Write `head` in the layout of `speculators`; `target_name` is recorded as the verifier it is for.

    The borrowed embedding is not written. A file is complete or not there at all.
    """
    tensors = {
        name: tensor.detach().to("cpu", dtype).contiguous()
        for name, tensor in public_tensors(head, _NAMES, ["draft_ids"]).items()
    }
    ids = head.draft_ids.cpu()
    tensors["d2t"] = ids - torch.arange(len(ids))
    tensors["t2d"] = torch.zeros(head.config.vocab_size, dtype=torch.bool)
    tensors["t2d"][ids] = True
    with replacing(folder / HEAD_FILES[0]) as draft:
        save_file(tensors, draft, metadata={"format": "pt"})
    text = json.dumps(_public_config(head.config, target_name, dtype), indent=2, sort_keys=True)
    write_text(folder / "config.json", text + "\n")


def read_config(folder: Path, *, layers: int) -> HeadConfig:
    """The configuration in `folder`, of either layout, for a target of `layers` layers. Raises `DecodingError`."""
    data, layer = read_json(folder)
    sizes = layer_fields(folder, data, layer, "EAGLE-3 head")
    vocab = vocabulary(folder, layer, "EAGLE-3 head")

    def whole(key: str, otherwise: int) -> int:
        return otherwise if data.get(key) is None else whole_number(folder, key, data[key])

    config = HeadConfig(
        **{**sizes, "qk_norm": _has_qk_norm(folder, data, layer)},
        vocab_size=vocab,
        draft_vocab_size=whole("draft_vocab_size", vocab),
        target_hidden_size=whole("target_hidden_size", sizes["hidden_size"]),
        feature_layers=tuple(BEFORE_NORM if i == layers else i for i in _states(folder, data, layers)),
        norm_before_residual=switch(folder, "norm_before_residual", data.get("norm_before_residual")),
        norm_before_fc=_variant(folder, data, "norm_before_fc"),
        fc_norm=_variant(folder, data, "fc_norm"),
        norm_output=_variant(folder, data, "norm_output"),
        mask_token=_mask_token(folder, data),
    )
    check_sizes(
        folder,
        {
            "vocab_size": config.vocab_size,
            "draft_vocab_size": config.draft_vocab_size,
            "target_hidden_size": config.target_hidden_size,
        },
    )
    if not _variant(folder, data, "use_aux_hidden_state", otherwise=True):
        raise head_error(
            folder,
            "has use_aux_hidden_state = False: it reads its target's last hidden state alone, which spectui does not "
            "know; choose another head",
        )
    if config.fc_norm and config.norm_before_fc:
        raise head_error(
            folder, "has both fc_norm and norm_before_fc, which norm the same; its config.json is damaged"
        )
    if unknown := sorted(set(layer_kinds(folder, layer) or ()) - {"full_attention"}):
        raise head_error(
            folder, f"has layer_types with '{unknown[0]}', which spectui does not know; choose another head"
        )
    return config


def describe(folder: Path, target: Sizes | None = None) -> str:
    """One line on the head in `folder`: its make, its layout, the target that it is for, what it drafts.

    Raises `DecodingError` as `read_config`, and where it is for another `target`.
    """
    data, _ = read_json(folder)
    config = read_config(folder, layers=32 if target is None else target.layers)
    if target is not None:
        _check_target(folder, config, hidden=target.hidden, vocab=target.vocab, layers=target.layers)
    listed = _feature_layers(folder, data, 32)  # not the default ones, which depend on the target
    states = f"hidden state{'s' if len(listed) > 1 else ''} {', '.join(map(str, listed))}"
    read = states if listed else "three hidden states"
    parallel = config.mask_token is not None
    parts = [
        f"{'a P-EAGLE' if parallel else 'an EAGLE-3'} head in {layout(data)}",
        f"for {verifier(data) or 'a target'} of hidden size {config.target_hidden_size} and {config.vocab_size} tokens",
        f"{config.num_hidden_layers} {'Qwen3' if config.qk_norm else 'Llama'} "
        f"layer{'s' if config.num_hidden_layers > 1 else ''} over {read}",
        f"drafts trees of any depth, of {config.draft_vocab_size} tokens, one forward a "
        f"{'round' if parallel else 'level'}",
    ]
    return "; ".join(parts)


def _has_qk_norm(folder: Path, data: dict[str, Any], layer: dict[str, Any]) -> bool:
    """True for layers of Qwen3, False for those of Llama.

    `speculators` says which they are. In other layouts the layers are Llama's whatever the target is, whose
    ``model_type`` some makers copy; vLLM has a name for the others.
    """
    kind = layer.get("model_type")
    architectures = str(data.get("architectures")).lower()
    if "deepseek" in architectures or ("speculators_model_type" in data and kind not in _FAMILIES):
        raise head_error(
            folder,
            f"has layers of another family (architectures {data.get('architectures')}, model_type = {kind}), which "
            "spectui does not build for a head; choose another",
        )
    if "qwen3forcausallm" in architectures:
        return True
    names = () if "speculators_model_type" in data else stored_names(folder)
    if not names:
        return kind == "qwen3"
    return all(any(name.endswith(f".{part}.weight") for name in names) for part in ("q_norm", "k_norm"))


def _mask_token(folder: Path, data: dict[str, Any]) -> int | None:
    """The mask token of a P-EAGLE head; None for other heads."""
    if not PEAGLE.recognises(data):
        return None
    values = {key: data[key] for key in _MASK_TOKEN if data.get(key) is not None}
    key = _mask_key(data)
    token = values.get(key)
    if type(token) is not int or len(set(values.values())) > 1:
        raise head_error(folder, f"has no single token {key} in its config.json ({values or 'none'})")
    return token


def _mask_key(data: dict[str, Any]) -> str:
    """The key that the mask token has here."""
    return next((key for key in _MASK_TOKEN if data.get(key) is not None), _MASK_TOKEN[0])


def _variant(folder: Path, data: dict[str, Any], key: str, *, otherwise: bool = False) -> bool:
    """A switch of the head, at the top of its configuration or in ``eagle_config``, where SGLang and vLLM look."""
    value = data.get(key, section(folder, data, "eagle_config").get(key))
    return otherwise if value is None else switch(folder, key, value)


def _feature_layers(folder: Path, data: dict[str, Any], layers: int) -> tuple[int, ...]:
    """The listed feature layers; empty where none are listed.

    At the top of the file they are counted as vLLM does (transformers' ``hidden_states`` index); inside
    ``eagle_config``, where SGLang looks, they name the layers whose *outputs* are meant, one less.
    """
    inner = section(folder, data, "eagle_config")
    layer = section(folder, data, "transformer_layer_config")
    listed: tuple[int, ...] = ()
    if data.get(_LISTED):
        listed = whole_numbers(folder, _LISTED, data[_LISTED])
    elif inner.get(_LISTED):
        listed = tuple(i + 1 for i in whole_numbers(folder, _LISTED, inner[_LISTED]))
    count = data.get("num_aux_hidden_states") or layer.get("num_aux_hidden_states")
    if count and count != (len(listed) or len(default_feature_layers(layers))):
        raise head_error(
            folder,
            f"has num_aux_hidden_states = {count} and {_LISTED} lists {len(listed) or 'none'}; its config.json is "
            "damaged",
        )
    return listed


def _states(folder: Path, data: dict[str, Any], layers: int) -> tuple[int, ...]:
    """The hidden states of a target of `layers` layers that are read, by transformers' count.

    The one behind the last layer is that before the final norm, as vLLM, which serves such heads, has it.
    """
    return _feature_layers(folder, data, layers) or default_feature_layers(layers)


def _check_target(folder: Path, config: HeadConfig, *, hidden: int, vocab: int, layers: int) -> None:
    """Raise unless the head was made for a target of these sizes."""
    check_target(
        folder,
        {
            "hidden size": (config.target_hidden_size, hidden),
            "vocabulary size": (config.vocab_size, vocab),
        },
    )
    data, _ = read_json(folder)
    states = _states(folder, data, layers)
    if not all(0 <= i <= layers for i in states):
        raise head_error(
            folder,
            f"reads the inputs of layers {', '.join(map(str, states))} ({_LISTED}), and the target has {layers} "
            "layers; choose its own head",
        )
    if config.mask_token is not None and not 0 <= config.mask_token < vocab:
        key = _mask_key(data)
        raise head_error(
            folder, f"has {key} = {config.mask_token}, and the target has {vocab} tokens; choose its own head"
        )


def _check_width(folder: Path, part: str, config: HeadConfig, width: int) -> None:
    """Raise unless the target's `part`, `width` wide, fits a head without one."""
    if width != config.hidden_size:
        raise head_error(
            folder,
            f"has no {part} and is {config.hidden_size} wide, but the target's {part} is {width} wide; it was made "
            "for another target",
        )


def _public_config(config: HeadConfig, target_name: str, dtype: torch.dtype) -> dict[str, Any]:
    """``config.json`` of the layout of `speculators`."""
    described = {field.name for field in fields(LayerConfig)} - {"qk_norm"} | {"vocab_size"}
    layer = {key: value for key, value in asdict(config).items() if key in described}
    layer |= {"model_type": "qwen3" if config.qk_norm else "llama", "hidden_act": "silu"}
    layer |= {"rope_scaling": config.rope_scaling or None}
    kind = "eagle3" if config.mask_token is None else "peagle"
    mask = {} if config.mask_token is None else {"mask_token_id": config.mask_token}
    as_wide = config.target_hidden_size == config.hidden_size
    return {
        "architectures": ["Eagle3Speculator" if config.mask_token is None else "PEagleDraftModel"],
        "speculators_model_type": kind,
        "speculators_config": {
            "algorithm": kind,
            "default_proposal_method": "greedy",
            "proposal_methods": [
                {
                    "proposal_type": "greedy",
                    "speculative_tokens": 3,
                    "verifier_accept_k": 1,
                    "accept_tolerance": 0.0,
                }
            ],
            "verifier": {"name_or_path": target_name, "architectures": ["LlamaForCausalLM"]},
        },
        "transformer_layer_config": layer,
        **mask,
        "draft_vocab_size": config.draft_vocab_size,
        "target_hidden_size": None if as_wide else config.target_hidden_size,
        "eagle_aux_hidden_state_layer_ids": list(config.feature_layers),
        "norm_before_residual": config.norm_before_residual,
        "norm_before_fc": config.norm_before_fc,
        "fc_norm": config.fc_norm,
        "norm_output": config.norm_output,
        "torch_dtype": str(dtype).removeprefix("torch."),
    }
