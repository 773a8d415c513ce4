"""The tensors of a model without its weights: from its configuration alone, as transformers would build it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from spectui.decoding.block.checkpoint import read_config as read_block_config
from spectui.decoding.block.head import BlockHead
from spectui.decoding.checkpoints.weight_files import Tensor, read_config, shards
from spectui.decoding.eagle.checkpoint import read_config as read_head_config
from spectui.decoding.eagle.first import FirstEagleHead
from spectui.decoding.eagle.first_checkpoint import read_config as read_first_config
from spectui.decoding.eagle.head import EagleHead
from spectui.decoding.errors import DecodingError, explain_model_error
from spectui.decoding.heads.files import opened
from spectui.decoding.models.memory import BYTES
from spectui.decoding.models.quantization import method, quantization

_PREFIX = "model."
_NAMES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}


def model_without_weights(folder: Path, dtype: str | None = None) -> Any:
    """The causal language model of ``config.json`` in `folder`, on the device "meta", not quantised.

    `dtype` is "float16" or another name of torch; the configuration's unless given. Raises `DecodingError` for a
    configuration that transformers cannot build.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        if hasattr(config, "quantization_config"):
            del config.quantization_config
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except Exception as error:  # transformers and its checks of fields meet whatever the file holds
        problem = f"{folder}/config.json describes no model that transformers builds"
        raise DecodingError(explain_model_error(folder, error, problem)) from error
    return model if dtype is None else model.to(getattr(torch, dtype))


def unfit_tensor(folder: Path) -> str | None:
    """Words on a tensor in the safetensors files of `folder` that its ``config.json`` means otherwise, or that they
    lack; None where all fit.

    Only of families whose files name tensors as transformers' modules do; a prefix may be left out. Raises
    `DecodingError` as `model_without_weights`.
    """
    shapes: dict[str, list[int]] = {}
    for path in shards(folder):
        with opened(path) as file:
            for name in file.keys():  # noqa: SIM118 - no mapping
                shapes[name.removeprefix(_PREFIX)] = file.get_slice(name).get_shape()
    names: dict[int, list[str]] = {}
    expected = model_without_weights(folder).state_dict(keep_vars=True)
    for name, tensor in expected.items():
        if isinstance(tensor, nn.Parameter):
            names.setdefault(id(tensor), []).append(name)  # tied ones have several
    missing = []
    for tied in names.values():
        stored = next((name for name in tied if name.removeprefix(_PREFIX) in shapes), None)
        if stored is None:
            missing.append(tied[0])
        elif (shape := shapes[stored.removeprefix(_PREFIX)]) != (meant := list(expected[stored].shape)):
            return (
                f"has '{stored}' of shape {shape} where its config.json means {meant}; the files do not belong "
                "together"
            )
    return f"lacks the tensor '{min(missing)}' ({len(missing)} in all); fetch it again" if missing else None


def model_tensors(folder: Path) -> list[Tensor]:
    """The tensors that the causal language model of ``config.json`` in `folder` would store, none of them allocated.

    Models in the GPTQ format are counted as such: packed words, scales and zeros of every layer but the head. Raises
    `DecodingError` for a configuration that transformers cannot build, and for other quantised formats.
    """
    quantized = method(read_config(folder))
    if quantized not in (None, "gptq"):
        raise DecodingError(
            f"{folder}/config.json does not say what {quantized} stores; give the whole model"
        )
    model = model_without_weights(folder)
    dtype = model.config.dtype if model.config.dtype in _NAMES else torch.float32
    head = model.get_output_embeddings()
    packed = {
        f"{name}.weight": module
        for name, module in model.named_modules()
        if quantized and isinstance(module, nn.Linear) and module is not head
    }
    out = []
    for name, parameter in model.named_parameters():  # tied ones once
        if name in packed:
            out += _gptq(name.removesuffix(".weight"), packed[name], folder)
        else:
            out.append(Tensor(name, _NAMES[dtype], parameter.numel() * BYTES[_NAMES[dtype]]))
    return out


def _gptq(name: str, linear: nn.Linear, folder: Path) -> list[Tensor]:
    """The tensors of a packed layer; see `tests.gptq_checkpoint` for the layout."""
    facts = quantization(read_config(folder))
    bits, group = int(facts.get("bits") or 0), int(facts.get("group_size") or 128)
    groups = 1 if group < 1 else -(-linear.in_features // group)
    return [
        Tensor(f"{name}.qweight", "I32", linear.in_features * linear.out_features * bits // 8),
        Tensor(f"{name}.qzeros", "I32", groups * linear.out_features * bits // 8),
        Tensor(f"{name}.scales", "F16", groups * linear.out_features * 2),
        Tensor(f"{name}.g_idx", "I32", linear.in_features * 4),
    ]


def head_bytes(folder: Path) -> int:
    """Bytes in half precision of the EAGLE-3 head of ``config.json``, which reads its target's embedding."""
    with torch.device("meta"):
        head = EagleHead(read_head_config(folder, layers=32), nn.Embedding(1, 1))
    return sum(2 * parameter.numel() for parameter in head.parameters())


def first_head_bytes(folder: Path) -> int:
    """Bytes in half precision of the EAGLE-1 head of ``config.json``, with its target's embedding and LM head."""
    with torch.device("meta"):
        config = read_first_config(folder, layers=32)
        head = FirstEagleHead(config, lambda: nn.Identity(), lambda: nn.Identity())
    return sum(2 * parameter.numel() for parameter in head.parameters())


def block_head_bytes(folder: Path) -> int:
    """Bytes in half precision of the DFlash head of ``config.json``, without an LM head that it may bring."""
    layers = read_config(folder, whole=False).get("num_target_layers")
    with torch.device("meta"):
        config = read_block_config(folder, layers=layers if type(layers) is int else 1000)
        head = BlockHead(config, nn.Embedding(1, 1), lambda: nn.Identity())
    return sum(2 * parameter.numel() for parameter in head.parameters())
