"""MTP modules in a target's own files, under the names of their families; transformers drops them as it loads."""

from __future__ import annotations

import copy
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from spectui.decoding.checkpoints.weight_files import check_weights, read_config, shards, tensors
from spectui.decoding.errors import DecodingError, explain_model_error
from spectui.decoding.heads.files import check_numbers, opened, same_weights
from spectui.decoding.mtp.head import MtpConfig, MtpHead
from spectui.decoding.target.layer_inputs import BEFORE_NORM
from spectui.decoding.target.norms import fuse_norms
from spectui.decoding.target.packed import pack_linears
from spectui.decoding.target.sizes import Sizes, text_config


@dataclass(frozen=True)
class Layout:
    """The names and the arithmetic of a family's modules."""

    words: str
    prefix: str
    """Of all of its tensors; ``{n}`` is the target's number of layers."""
    mark: str
    """A tensor that no other layout has under the prefix."""
    names: Mapping[str, str]
    """Parts of `MtpHead`, by their stored names; the others are the layer's."""
    hidden_first: bool
    normed_state: bool
    """The target's state is read after its final norm."""
    carries_normed: bool
    blank_first: bool
    behind_layers: bool = False
    """The layer is built as the one behind the target's last."""


LAYOUTS = (
    Layout(
        "MiMo's",
        "model.mtp_layers.0.",
        "input_proj.weight",
        {"token_layernorm": "embed_norm", "hidden_layernorm": "hidden_norm", "input_proj": "proj",
         "final_layernorm": "norm"},
        hidden_first=True, normed_state=False, carries_normed=True, blank_first=True,
    ),
    Layout(
        "GLM's and DeepSeek's",
        "model.layers.{n}.",
        "eh_proj.weight",
        {"enorm": "embed_norm", "hnorm": "hidden_norm", "eh_proj": "proj", "shared_head.norm": "norm",
         "shared_head.head": "lm_head", "embed_tokens": "own_embedding"},
        hidden_first=False, normed_state=True, carries_normed=False, blank_first=True, behind_layers=True,
    ),
    Layout(
        "Qwen3-Next's",
        "mtp.",
        "pre_fc_norm_hidden.weight",
        {"pre_fc_norm_embedding": "embed_norm", "pre_fc_norm_hidden": "hidden_norm", "fc": "proj", "norm": "norm"},
        hidden_first=False, normed_state=True, carries_normed=True, blank_first=False,
    ),
)  # fmt: skip
"""The families that are known. vLLM is followed where engines differ: it carries GLM's state before `shared_head.norm`
and blanks the first token, SGLang carries it after the norm and does not."""
_ANNOUNCED = ("num_nextn_predict_layers", "mtp_num_hidden_layers")
"""Keys of a target's configuration that announce a module."""
_EXACT = "e_score_correction_bias"
"""A router's bias, which stays in float32."""


def load_module(
    folder: Path, target: Any, *, device: torch.device | None = None, allow_pickle: bool = False
) -> MtpHead:
    """The module in the folder of `target`. Raises `DecodingError` in one line where there is none, or half of one."""
    config = text_config(target.config)
    layout, prefix = _find(folder, int(config.num_hidden_layers))
    stored = _by_part(layout, _read(folder, prefix))
    embedding, output = target.get_input_embeddings, target.get_output_embeddings
    for name, borrowed in (("own_embedding.weight", embedding), ("lm_head.weight", output)):
        if name in stored and same_weights(borrowed(), stored[name]):
            del stored[name]
    described = MtpConfig(
        hidden_size=int(config.hidden_size),
        vocab_size=int(config.vocab_size),
        feature_layers=(int(config.num_hidden_layers) if layout.normed_state else BEFORE_NORM,),
        hidden_first=layout.hidden_first,
        carries_normed=layout.carries_normed,
        blank_first=layout.blank_first,
    )
    try:
        parts = _family(target, config, layout)
        with torch.device("meta"):
            layer: Any = parts.layer()
            layer.self_attn.layer_idx = 0
            head = MtpHead(
                described,
                layer,
                parts.rotary,
                parts.norm,
                None if "own_embedding.weight" in stored else embedding,
                None if "lm_head.weight" in stored else output,
            )
    except DecodingError:
        raise
    except Exception as error:  # the code of families that have no such module
        problem = f"model type '{config.model_type}' has no parts that an MTP module could be built of"
        raise DecodingError(f"{explain_model_error(folder, error, problem)}; give another --draft") from error
    _fill(folder, head, stored, layout, prefix, target.dtype)
    return head.to(device or target.device).eval()


def describe(folder: Path, target: Sizes | None = None) -> str:
    """One line on the module among the files of a target. Raises `DecodingError` where there is none."""
    layers = target.layers if target is not None else int(read_config(folder)["num_hidden_layers"])
    layout, _ = _find(folder, layers)
    return f"an MTP module under {layout.words} names, of this target; drafts trees of any depth, one forward a level"


def module_bytes(folder: Path) -> int:
    """Bytes of the stored module; 0 where there is none."""
    layers = int(read_config(folder).get("num_hidden_layers") or 0)
    prefixes = tuple(layout.prefix.format(n=layers) for layout in LAYOUTS)
    return sum(tensor.bytes for tensor in tensors(folder) if tensor.name.startswith(prefixes))


def use_lean_module(head: MtpHead) -> None:
    """Pack the weights of a float32 module on the CPU and fuse its norms."""
    pack_linears(head)
    fuse_norms(head)


def _find(folder: Path, layers: int) -> tuple[Layout, str]:
    """The layout of the module in `folder`, and the prefix of its tensors."""
    if not shards(folder):
        raise DecodingError(f"model folder {folder} has no safetensors, which an MTP module is read from")
    check_weights(folder)
    names = {tensor.name for tensor in tensors(folder)}
    for layout in LAYOUTS:
        prefix = layout.prefix.format(n=layers)
        if prefix + layout.mark in names:
            return layout, prefix
    config = read_config(folder)
    announced = next((key for key in _ANNOUNCED if config.get(key)), None)
    why = (
        f"its config.json has {announced} = {config[announced]}, so a conversion dropped it: give the original files"
        if announced
        else "give another --draft"
    )
    known = ", ".join(layout.prefix.format(n=layers) + layout.mark for layout in LAYOUTS)
    raise DecodingError(f"model folder {folder} has no MTP module (none of {known}); {why}")


def _read(folder: Path, prefix: str) -> dict[str, torch.Tensor]:
    """The tensors whose names begin with `prefix`, without it."""
    out: dict[str, torch.Tensor] = {}
    for path in shards(folder):
        with opened(path) as file:
            names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118 - no mapping
            out |= {name.removeprefix(prefix): file.get_tensor(name) for name in names}
    return out


def _by_part(layout: Layout, stored: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Tensors under the names of `MtpHead`; experts side by side, as transformers has them."""
    out: dict[str, torch.Tensor] = {}
    experts: dict[str, dict[int, torch.Tensor]] = {}
    for name, tensor in stored.items():
        module, _, kind = name.rpartition(".")
        if module in layout.names:
            out[f"{layout.names[module]}.{kind}"] = tensor
            continue
        name = re.sub(r"^layers\.0\.", "", name)
        if one := re.fullmatch(r"mlp\.experts\.(\d+)\.(gate|up|down)_proj\.weight", name):
            experts.setdefault(one[2], {})[int(one[1])] = tensor
        elif not name.endswith("rotary_emb.inv_freq"):
            out[f"layer.{name}"] = tensor
    if experts:
        gate, up, down = (
            torch.stack([experts.get(part, {})[i] for i in sorted(experts.get(part, {}))])
            if experts.get(part)
            else torch.empty(0)
            for part in ("gate", "up", "down")
        )
        if gate.shape == up.shape:
            out["layer.mlp.experts.gate_up_proj"] = torch.cat([gate, up], dim=1)
        out["layer.mlp.experts.down_proj"] = down
    return out


@dataclass(frozen=True)
class _Parts:
    """The family's parts that a module is built of."""

    layer: partial[nn.Module]
    norm: partial[nn.Module]
    rotary: nn.Module


def _family(target: Any, config: Any, layout: Layout) -> _Parts:
    """The classes of the target's family."""
    modules = [sys.modules[kind.__module__] for kind in type(target).__mro__]
    module = next((one for one in modules if any(name.endswith("DecoderLayer") for name in vars(one))), None)

    def named(ending: str) -> Any:
        names = sorted((name for name in vars(module) if name.endswith(ending)), key=len) if module else []
        if not names:
            raise DecodingError(
                f"model type '{config.model_type}' has no part like {ending}, which its MTP module is built of; give "
                "another --draft"
            )
        return getattr(module, names[0])

    ours = copy.deepcopy(config)
    ours._attn_implementation = "sdpa"
    index = int(config.num_hidden_layers) if layout.behind_layers else 0
    if layout.behind_layers:
        for name, kinds in list(vars(ours).items()):
            if (
                isinstance(kinds, list) and len(kinds) == index
            ):  # a word for each layer: this one is as the last
                setattr(ours, name, [*kinds, kinds[-1]])
    elif getattr(config, "layer_types", None):
        ours.num_hidden_layers, ours.layer_types = 1, ["full_attention"]
    norm = partial(named("RMSNorm"), int(config.hidden_size), eps=float(config.rms_norm_eps))
    with torch.device("cpu"):
        rotary = named("RotaryEmbedding")(ours)
    return _Parts(partial(named("DecoderLayer"), ours, index), norm, rotary)


def _fill(
    folder: Path,
    head: MtpHead,
    stored: dict[str, torch.Tensor],
    layout: Layout,
    prefix: str,
    dtype: torch.dtype,
) -> None:
    expected = {
        name: tuple(tensor.shape) for name, tensor in head.state_dict().items() if name != "draft_ids"
    }
    public = {part: name for name, part in layout.names.items()}

    def words(name: str) -> str:
        part, _, kind = name.rpartition(".")
        return prefix + (f"{public[part]}.{kind}" if part in public else name.removeprefix("layer."))

    if missing := [name for name in expected if name not in stored]:
        raise DecodingError(
            f"the MTP module of model folder {folder} lacks the tensor '{words(missing[0])}' ({len(missing)} missing "
            "in all); fetch it again"
        )
    if unknown := sorted(set(stored) - set(expected)):
        raise DecodingError(
            f"the MTP module of model folder {folder} holds a tensor {words(unknown[0])!r} that spectui does not know; "
            "give another --draft"
        )
    for name, shape in expected.items():
        if tuple(stored[name].shape) != shape:
            raise DecodingError(
                f"the MTP module of model folder {folder} has '{words(name)}' of shape {list(stored[name].shape)} "
                f"where its config.json means {list(shape)}; give another --draft"
            )
    state = {
        name: tensor.to(torch.float32 if name.endswith(_EXACT) else dtype) for name, tensor in stored.items()
    }
    check_numbers(folder, {words(name): tensor for name, tensor in state.items()})
    head.load_state_dict(state | {"draft_ids": torch.arange(head.config.vocab_size)}, assign=True)
