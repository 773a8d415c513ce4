"""Refusals of folders and files that hold no causal language model, with what they are and what to do.

They are recognised by names and small files alone: torch-free.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from spectui.decoding.checkpoints.tokenizer_files import has_tokenizer
from spectui.decoding.checkpoints.weight_files import stored_names
from spectui.decoding.drafters.registry import KINDS, accepted_weights, either, named_kinds
from spectui.decoding.errors import DecodingError

_OTHER_DRAFTS = {
    "dflash2": "a DFlash 2 block drafter",
    "domino": "a Domino block drafter",
    "dflare": "a DFlare block drafter",
    "mtp": "multi-token-prediction (MTP) layers, which belong to their own model",
    "medusa": "Medusa heads",
    "hydra": "Hydra heads",
    "mlp_speculator": "an MLP speculator",
    "independent": "a draft that `speculators` describes without weights",
}
"""Kinds of drafts that are not loaded, by what `speculators` or their own configurations call them."""

_BY_ARCHITECTURE = (
    (r"dflash2", "dflash2"), (r"domino", "domino"), (r"dflare", "dflare"),
    (r"medusa", "medusa"), (r"hydra", "hydra"), (r"mlpspeculator", "mlp_speculator"), (r"mtp|nextn", "mtp"),
)  # fmt: skip

_MOST_LAYERS = 8
"""Layers of a draft head; the files of larger models are not looked into."""

_TAKE = f"give --draft {either([*accepted_weights(), *(kind.name for kind in named_kinds(embedded=False))])}"


def refuse_foreign(name: str, folder: Path) -> None:
    """Raise `DecodingError` in one line for a folder that is no model and no EAGLE-3 head."""
    if what := _foreign_folder(folder):
        raise DecodingError(f"'{name}' {what}")
    described = _json(folder / "config.json")
    if what := other_draft(described):
        raise DecodingError(f"'{name}' is {what}, which spectui does not run; {_TAKE}")


def refuse_foreign_on_hub(name: str, folder: Path) -> None:
    """As `refuse_foreign`, where the small files are there and the weights may not be."""
    names = {path.name for path in folder.iterdir()}
    if "config.json" not in names and names & {"adapter_config.json", "model_index.json"}:
        refuse_foreign(name, folder)
    described = _json(folder / "config.json")
    if what := _mlx(described):
        raise DecodingError(f"'{name}' {what}")
    if what := other_draft(described):
        raise DecodingError(f"'{name}' is {what}, which spectui does not run; {_TAKE}")


def refuse_file(name: str, path: Path) -> None:
    """Raise `DecodingError` in one line for a file given where a folder was wanted."""
    if path.suffix.lower() == ".gguf":
        raise DecodingError(f"'{name}' {_GGUF}")
    raise DecodingError(f"'{name}' is a file; give the folder that holds the model's config.json and weights")


_GGUF = (
    "is a GGUF file of llama.cpp, which spectui does not read; give the model it was made from, a hub id or folder "
    "with safetensors files"
)


def _foreign_folder(folder: Path) -> str | None:
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    has = _Names(names)
    if has.any("model*.safetensors", "pytorch_model*.bin") and "config.json" in names:
        return _mlx(_json(folder / "config.json"))
    if "adapter_config.json" in names:
        base = _json(folder / "adapter_config.json").get("base_model_name_or_path")
        return (
            f"is an adapter (LoRA) for {base or 'another model'}, not a model: merge it with peft "
            "(merge_and_unload, then save_pretrained) and give that folder"
        )
    if "model_index.json" in names:
        return "is a pipeline of diffusers, which makes images; give a language model"
    if has.any("*.gguf"):
        return f"holds {has.first('*.gguf')}, which {_GGUF}"
    if has.any("*.onnx") or (folder / "onnx").is_dir():
        return "is exported to ONNX, which spectui does not run; give the model it was made from"
    if has.any("consolidated*.pth", "consolidated*.safetensors"):
        return (
            f"holds its weights in the authors' own layout ({has.first('consolidated*')}); give the folder or hub id "
            "of the same model converted for transformers"
        )
    if has.any("weights*.npz"):
        return "is a model of MLX, for Apple's machines; give the model it was made from"
    if other := has.first("tf_model.h5", "flax_model.msgpack"):
        return (
            f"holds weights of TensorFlow or Flax alone ({other}); give the same model with safetensors files"
        )
    if "config.json" in names:
        return None
    return _without_config(folder, names)


def _without_config(folder: Path, names: list[str]) -> str:
    if not names:
        return "is an empty folder; give one that holds a model's config.json and weights"
    below = sorted(folder.glob("*/config.json")) or sorted(folder.glob("snapshots/*/config.json"))
    if below:
        return f"has no config.json, but {below[0].parent.relative_to(folder)} in it has; give that folder"
    if all(name.startswith(("tokenizer", "special_tokens", "vocab", "merges", "added_")) for name in names):
        return "holds a tokenizer alone; give the folder of the whole model"
    if _Names(names).any("*_lm_head.pt", "medusa*.safetensors", "hydra*.safetensors"):
        return f"holds Medusa or Hydra heads, which spectui does not run; {_TAKE}"
    return "has no config.json; give a folder saved by save_pretrained"


def _mlx(described: Mapping[str, Any]) -> str | None:
    settings = described.get("quantization")
    if isinstance(settings, Mapping) and {"bits", "group_size"} <= set(settings):
        return "is quantised for MLX, for Apple's machines; give the model it was made from"
    return None


def other_draft(described: Mapping[str, Any]) -> str | None:
    """Words on the draft that a ``config.json`` describes, if it is one of a kind that is not loaded."""
    kind = described.get("speculators_model_type")
    if any(known.recognises(described) for known in KINDS.values()):
        return None
    if kind is not None:
        return _OTHER_DRAFTS.get(str(kind), f"a draft head of kind '{kind}'")
    for key, name in (("medusa_num_heads", "medusa"), ("hydra_num_heads", "hydra")):
        if key in described:
            return _OTHER_DRAFTS[name]
    inner = described.get("dflash_config")
    block: Mapping[str, Any] = inner if isinstance(inner, Mapping) else {}
    named = f"{described.get('architectures', '')} {described.get('model_type', '')}"
    for pattern, name in _BY_ARCHITECTURE:
        if re.search(pattern, f"{named} {block.get('projector_type')}".lower()):
            return _OTHER_DRAFTS[name]
    if "selector_rank" in block:
        return _OTHER_DRAFTS["dflash2"]
    if "dflash_config" in described:
        return f"a block drafter of another kind (architectures: {described.get('architectures')})"
    return None


def is_eagle1(described: Mapping[str, Any], folder: Path) -> bool:
    """True for an EAGLE-1 or 2 head of its authors, which calls itself a Llama of a layer or a few: its tensors are
    layers behind an ``fc``."""
    if not _has_few_layers(described):
        return False
    names = {name.removeprefix("model.") for name in stored_names(folder)}
    return "fc.weight" in names and any(name.startswith("layers.0.") for name in names)


def could_be_eagle1(folder: Path) -> bool:
    """True for a description that `is_eagle1` needs the weights of: that of a model, and no tokenizer beside it."""
    described = _json(folder / "config.json")
    unknown = not any(kind.recognises(described) for kind in KINDS.values())
    return unknown and _has_few_layers(described) and not stored_names(folder) and not has_tokenizer(folder)


def _has_few_layers(described: Mapping[str, Any]) -> bool:
    return described.get("num_hidden_layers") in range(1, _MOST_LAYERS + 1)


class _Names:
    """File names by patterns."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = list(names)

    def any(self, *patterns: str) -> bool:
        """True when a name matches one of `patterns`."""
        return bool(self.first(*patterns))

    def first(self, *patterns: str) -> str:
        """The first name that matches one of `patterns`; "" when none does."""
        return next((name for name in self._names for one in patterns if Path(name).match(one)), "")


def _json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}
