"""EAGLE-3 heads on disk: the layout of the EAGLE authors and that of `speculators` (also vLLM's).

Both name the same tensors: ``midlayer.`` there is ``layers.0.`` here. ``d2t`` holds *offsets*: draft token i
is target token ``i + d2t[i]``; ``t2d`` marks the target's tokens that the head can predict. Without
``embed_tokens`` the head reads the target's embedding.
"""

from __future__ import annotations

import json
import pickle
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from spectui.decoding.checkpoints.weight_files import HEAD_FILES, PICKLED_WORDS
from spectui.decoding.eagle.head import FEATURES, EagleHead, HeadConfig, default_feature_layers
from spectui.decoding.errors import DecodingError
from spectui.store.files import replacing, write_text

_ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
_MLP = ("gate_proj", "up_proj", "down_proj")

_IGNORED = {"verifier_lm_head.weight", "verifier_norm.weight", "rotary_emb.inv_freq"}
"""Tensors that training leaves in a file and that decoding does not use."""

_LARGEST = 1 << 31
"""Bound of every size in a head's configuration."""

_UNSUPPORTED: dict[str, Any] = {
    "fc_norm": False,
    "attention_bias": False,
    "mlp_bias": False,
    "num_hidden_layers": 1,
    "hidden_act": "silu",
}
"""Options of the layout with the one value of each that spectui implements."""


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
    config = read_config(folder, layers=int(model.num_hidden_layers))
    _check_target(folder, config, model)
    state = _internal_names(folder, _read_weights(folder, allow_pickle=allow_pickle))
    offsets, present = state.pop("d2t", None), state.pop("t2d", None)
    embedding = None
    if "own_embedding.weight" not in state:
        embedding = target.get_input_embeddings()
        if embedding.weight.shape[1] != config.hidden_size:
            raise _error(
                folder,
                f"has no embedding and is {config.hidden_size} wide, but the target's embedding is "
                f"{embedding.weight.shape[1]} wide; it was made for another target",
            )
    with torch.device("meta"):
        head = EagleHead(config, embedding)
    dtype = dtype or target.dtype
    state = {name: tensor.to(dtype) for name, tensor in state.items()}
    state["draft_ids"] = _draft_ids(folder, config, offsets, present)
    _check_tensors(folder, {name: tuple(t.shape) for name, t in head.state_dict().items()}, state)
    head.load_state_dict(state, assign=True)
    return head.to(device or target.device).eval()


def save_head(head: EagleHead, folder: Path, *, target_name: str, dtype: torch.dtype = torch.float16) -> None:
    """Write `head` in the layout of `speculators`; `target_name` is recorded as the verifier it is for.

    The borrowed embedding is not written. A file is complete or not there at all.
    """
    names = _public_names()
    tensors = {
        names[name]: tensor.detach().to("cpu", dtype).contiguous()
        for name, tensor in head.state_dict().items()
        if name != "draft_ids"
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
    """The configuration in `folder`, of either layout, for a target of `layers` layers.

    Feature layers: ``eagle_aux_hidden_state_layer_ids`` counts as vLLM does (transformers'
    ``hidden_states`` index); inside ``eagle_config``, where SGLang looks, it names the layers whose
    *outputs* are meant, one less. Raises `DecodingError`.
    """
    try:
        data = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _error(folder, f"has no readable config.json: {error}") from error
    layer = data.get("transformer_layer_config") or data
    parts = (
        (data, layer, layer.get("rope_parameters") or layer.get("rope_scaling") or {})
        if isinstance(layer, dict)
        else ()
    )
    if not parts or not all(isinstance(part, dict) for part in (*parts, data.get("eagle_config") or {})):
        raise _error(folder, "has a config.json with a value of the wrong type: an object is something else")
    for key, only in _UNSUPPORTED.items():
        if (value := data.get(key, layer.get(key))) not in (None, only):
            raise _error(folder, f"has {key} = {value}, which spectui does not know; choose another head")
    listed = data.get("eagle_aux_hidden_state_layer_ids")
    outputs = (data.get("eagle_config") or {}).get("eagle_aux_hidden_state_layer_ids")
    if listed is None and outputs:
        listed = [i + 1 for i in outputs]
    rope = dict(layer.get("rope_parameters") or layer.get("rope_scaling") or {})
    try:
        width, heads = int(layer["hidden_size"]), int(layer["num_attention_heads"])
        config = HeadConfig(
            hidden_size=width,
            intermediate_size=int(layer["intermediate_size"]),
            num_attention_heads=heads,
            num_key_value_heads=int(layer.get("num_key_value_heads") or heads),
            head_dim=int(layer.get("head_dim") or width // heads),
            vocab_size=int(layer["vocab_size"]),
            draft_vocab_size=int(data.get("draft_vocab_size") or layer["vocab_size"]),
            target_hidden_size=int(data.get("target_hidden_size") or width),
            feature_layers=tuple(int(i) for i in listed or default_feature_layers(layers)),
            rms_norm_eps=float(layer.get("rms_norm_eps") or 1e-6),
            rope_theta=float(rope.pop("rope_theta", None) or layer.get("rope_theta") or 10_000.0),
            rope_scaling=rope,
            max_position_embeddings=int(layer.get("max_position_embeddings") or 2048),
            norm_before_residual=bool(data.get("norm_before_residual")),
            norm_before_fc=bool(data.get("norm_before_fc")),
            norm_output=bool(data.get("norm_output")),
        )
    except KeyError as error:
        raise _error(folder, f"has no {error.args[0]} in its config.json; it is no EAGLE-3 head") from error
    except (TypeError, ValueError) as error:
        raise _error(folder, f"has a config.json with a value of the wrong type: {error}") from error
    sizes = [
        config.hidden_size, config.intermediate_size, config.num_attention_heads, config.num_key_value_heads,
        config.head_dim, config.vocab_size, config.draft_vocab_size, config.max_position_embeddings,
    ]  # fmt: skip
    if not all(0 < size < _LARGEST for size in sizes):
        raise _error(
            folder, f"has a config.json with a size that no head has, among {', '.join(map(str, sizes))}"
        )
    if len(config.feature_layers) != FEATURES:
        raise _error(
            folder, f"reads {len(config.feature_layers)} layers of the target; EAGLE-3 reads {FEATURES}"
        )
    return config


def _check_target(folder: Path, config: HeadConfig, model: Any) -> None:
    """Raise unless the head was made for a target of these sizes."""
    for size, of_head, of_target in (
        ("hidden size", config.target_hidden_size, model.hidden_size),
        ("vocabulary size", config.vocab_size, model.vocab_size),
    ):
        if of_head != of_target:
            raise _error(
                folder,
                f"was made for a target of {size} {of_head}, and this one has {of_target}; choose its own head",
            )
    if not all(0 <= i < model.num_hidden_layers for i in config.feature_layers):
        raise _error(
            folder,
            f"reads the inputs of layers {', '.join(map(str, config.feature_layers))}, and the target has "
            f"{model.num_hidden_layers} layers; choose its own head",
        )


def _read_weights(folder: Path, *, allow_pickle: bool) -> dict[str, torch.Tensor]:
    path = next((folder / name for name in HEAD_FILES if (folder / name).is_file()), None)
    if path is None:
        raise _error(folder, f"has no {' or '.join(HEAD_FILES)}; fetch it again")
    try:
        if path.suffix == ".safetensors":
            tensors: dict[str, torch.Tensor] = load_file(path)
            return tensors
        if not allow_pickle:
            raise _error(folder, f"has {PICKLED_WORDS}")
        stored: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        reason = " ".join(str(error).split())[:150]
        raise _error(folder, f"has a damaged or incomplete {path.name} ({reason}); fetch it again") from error
    if not isinstance(stored, dict) or not all(isinstance(t, torch.Tensor) for t in stored.values()):
        raise _error(folder, f"has a {path.name} that holds no tensors by name; it is no EAGLE-3 head")
    return stored


def _public_names() -> dict[str, str]:
    """The name of each tensor of `EagleHead`, to its name in the layout of `speculators`."""
    layer = {f"layer.{p}.weight": f"layers.0.self_attn.{p}.weight" for p in _ATTENTION}
    layer |= {f"layer.{p}.weight": f"layers.0.mlp.{p}.weight" for p in _MLP}
    layer |= {
        f"layer.{norm}.weight": f"layers.0.{norm}.weight"
        for norm in ("input_layernorm", "hidden_norm", "post_attention_layernorm")
    }
    return layer | {
        "own_embedding.weight": "embed_tokens.weight",
        **{f"{name}.weight": f"{name}.weight" for name in ("fc", "norm", "lm_head", "input_norm")},
    }


def _internal_names(folder: Path, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """`tensors` under the names of `EagleHead`; ``d2t`` and ``t2d`` keep theirs. Raises on an unknown name."""
    internal = {public: name for name, public in _public_names().items()} | {"d2t": "d2t", "t2d": "t2d"}
    out: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        public = name.removeprefix("model.")
        if public.startswith("midlayer."):
            public = "layers.0." + public.removeprefix("midlayer.")
        if public in internal:
            out[internal[public]] = tensor
        elif public not in _IGNORED and not public.endswith("rotary_emb.inv_freq"):
            raise _error(folder, f"holds a tensor '{name}' that spectui does not know; choose another head")
    return out


def _check_tensors(
    folder: Path, expected: dict[str, tuple[int, ...]], stored: dict[str, torch.Tensor]
) -> None:
    public = _public_names()
    if missing := [public.get(name, name) for name in expected if name not in stored]:
        raise _error(
            folder, f"lacks the tensor '{missing[0]}' ({len(missing)} missing in all); fetch it again"
        )
    for name, tensor in stored.items():
        if name not in expected:
            raise _error(folder, f"holds a tensor '{public[name]}' that its config.json does not announce")
        if tuple(tensor.shape) != expected[name]:
            raise _error(
                folder,
                f"has '{public.get(name, name)}' of shape {list(tensor.shape)} where its config.json means "
                f"{list(expected[name])}; the files do not belong together",
            )


def _draft_ids(
    folder: Path, config: HeadConfig, offsets: torch.Tensor | None, present: torch.Tensor | None
) -> torch.Tensor:
    """Target token of every draft token, ``[draft_vocab_size]``, from ``d2t`` or else ``t2d``."""
    size = config.draft_vocab_size
    if offsets is not None:
        if tuple(offsets.shape) != (size,):
            raise _error(folder, f"has d2t of shape {list(offsets.shape)} for {size} draft tokens")
        ids = torch.arange(size) + offsets.long()
    elif present is not None:
        ids = present.bool().nonzero().flatten()
        if len(ids) != size:
            raise _error(folder, f"marks {len(ids)} tokens in t2d, but predicts {size}")
    elif size == config.vocab_size:
        ids = torch.arange(size)
    else:
        raise _error(folder, f"predicts {size} of {config.vocab_size} tokens but has no d2t that names them")
    if int(ids.min()) < 0 or int(ids.max()) >= config.vocab_size:
        outside = int(ids.max()) if int(ids.max()) >= config.vocab_size else int(ids.min())
        raise _error(
            folder,
            f"predicts token {outside}, but the target has {config.vocab_size}; it was made for another target",
        )
    if len(set(ids.tolist())) != size:
        raise _error(folder, "names a target token twice in d2t; it is damaged, fetch it again")
    return ids


def _public_config(config: HeadConfig, target_name: str, dtype: torch.dtype) -> dict[str, Any]:
    """``config.json`` of the layout of `speculators`."""
    layer = {
        key: value
        for key, value in asdict(config).items()
        if key
        in (
            "hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads", "head_dim",
            "vocab_size", "rms_norm_eps", "rope_theta", "max_position_embeddings",
        )
    }  # fmt: skip
    layer |= {"model_type": "llama", "num_hidden_layers": 1, "hidden_act": "silu"}
    layer |= {"attention_bias": False, "mlp_bias": False, "rope_scaling": config.rope_scaling or None}
    as_wide = config.target_hidden_size == config.hidden_size
    return {
        "architectures": ["Eagle3Speculator"],
        "speculators_model_type": "eagle3",
        "speculators_config": {
            "algorithm": "eagle3",
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
        "draft_vocab_size": config.draft_vocab_size,
        "target_hidden_size": None if as_wide else config.target_hidden_size,
        "eagle_aux_hidden_state_layer_ids": list(config.feature_layers),
        "norm_before_residual": config.norm_before_residual,
        "norm_before_fc": config.norm_before_fc,
        "norm_output": config.norm_output,
        "torch_dtype": str(dtype).removeprefix("torch."),
    }


def _error(folder: Path, problem: str) -> DecodingError:
    return DecodingError(f"draft head {folder} {problem}")
