"""The decoder layers of a draft head, as its ``config.json`` describes them. Torch-free.

Authors write the sizes at the top of the file, `speculators` in ``transformer_layer_config``, vLLM's converter of
EAGLE-1 heads in ``model``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spectui.decoding.errors import DecodingError

KNOWN_SPECULATORS = (0, 9)
"""The newest version of `speculators` whose layouts were compared with it."""

ROPE_TYPES = ("default", "linear", "llama3", "yarn")
"""Rotary scalings whose frequencies do not depend on how long the sequence has become."""
PICTURES = "mrope"
"""One that gives pictures three positions each. Those of text are all the same, as without it."""

_LARGEST = 1 << 31
"""Bound of every size in a head's configuration."""
_LARGEST_OF = {"num_hidden_layers": 1000, "head_dim": 1 << 16}
"""Bounds of what is made before its tensors are held against the files: modules, and rotary angles."""
_LARGEST_NUMBER = 1e30
"""Bound of every other number, far from the end of float32."""
_NEEDED = ("hidden_size", "intermediate_size", "num_attention_heads")
_QWEN3_HEAD_DIM = 128
"""Of a Qwen3 configuration that names none, in transformers."""


@dataclass(frozen=True, kw_only=True)
class LayerConfig:
    """Sizes and variants of a head's decoder layers, Llama's or Qwen3's."""

    hidden_size: int
    intermediate_size: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    num_hidden_layers: int = 1
    rms_norm_eps: float = 1e-5
    rope_theta: float = 10_000.0
    rope_scaling: dict[str, Any] = field(default_factory=dict)
    """As in a Llama config: ``rope_type`` and its parameters; empty for plain rotary embeddings."""
    max_position_embeddings: int = 2048
    attention_bias: bool = False
    """All four products of the attention add a bias."""
    mlp_bias: bool = False
    qk_norm: bool = False
    """Queries and keys are normed within each head, as in Qwen3."""


def head_error(folder: Path, problem: str) -> DecodingError:
    """The error of a head in `folder`: `problem` begins with a verb."""
    return DecodingError(
        f"draft head {folder} {' '.join(problem.split())}"
    )  # files name tensors as they like


def read_json(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """``config.json``, and the part of it that describes the layers. Raises `DecodingError`."""
    try:
        data = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise head_error(folder, f"has no readable config.json: {error}") from error
    layer: Any = _layer_part(data) if isinstance(data, dict) else None
    rope = (layer.get("rope_parameters") or layer.get("rope_scaling") or {}) if isinstance(layer, dict) else 0
    if not all(isinstance(part, dict) for part in (data, layer, rope)):
        raise head_error(
            folder, "has a config.json with a value of the wrong type: an object is something else"
        )
    _check_version(folder, data)
    return data, layer


def _layer_part(data: Mapping[str, Any]) -> Any:
    """The object that describes the layers, which `speculators` and vLLM put inside."""
    wrapped = data.get("model")
    return data.get("transformer_layer_config") or (wrapped if isinstance(wrapped, dict) else None) or data


def sizes_read(data: Mapping[str, Any], *, head: bool = False) -> tuple[Any, Any] | None:
    """Hidden size and vocabulary of the target that the head of a ``config.json`` reads, or of a model itself; None
    where it names none. For choices to offer: `check_target` decides."""
    text = data.get("text_config")
    part = _layer_part(data) if head else text if isinstance(text, Mapping) else data
    if not isinstance(part, Mapping):
        return None
    hidden = (data.get("target_hidden_size") if head else None) or part.get("hidden_size")
    vocabulary = part.get("vocab_size")
    return None if hidden is None or vocabulary is None else (hidden, vocabulary)


def section(folder: Path, data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The object `key` of a configuration; empty where there is none. Raises `DecodingError` for something else."""
    inner = data.get(key) or {}
    if not isinstance(inner, Mapping):
        raise head_error(folder, f"has a config.json with a value of the wrong type: {key} is no object")
    return inner


def whole_numbers(folder: Path, key: str, listed: Any) -> tuple[int, ...]:
    """`listed`, the value of `key`, as numbers. Raises `DecodingError` for anything else."""
    if not isinstance(listed, list) or not all(type(number) is int for number in listed):
        raise head_error(
            folder, f"has a config.json with a value of the wrong type: {key} is {listed!r}"[:200]
        )
    return tuple(listed)


def whole_number(folder: Path, key: str, value: Any) -> int:
    """`value` of `key` as a number. Raises `DecodingError` for anything but a whole one."""
    if type(value) is not int:
        raise _wrong_type(folder, key, value, "whole number")
    return value


def number(folder: Path, key: str, value: Any, *, zero: bool = False) -> float:
    """`value` of `key` as a number above 0, or with `zero` from 0. Raises `DecodingError` for anything else: infinity,
    and JSON's NaN, would go through every layer and show in no output."""
    if type(value) not in (int, float):
        raise _wrong_type(folder, key, value, "number")
    if not (0 <= value < _LARGEST_NUMBER) or (value == 0 and not zero):
        raise head_error(
            folder, f"has {key} = {str(value)[:60]} in its config.json, a number that no head has"
        )
    return float(value)


def switch(folder: Path, key: str, value: Any) -> bool:
    """`value` of `key` as a switch, off where it is null. Raises `DecodingError` for anything else: "false" is no
    false."""
    if value not in (None, False, True):
        raise _wrong_type(folder, key, value, "true or false")
    return bool(value)


def _wrong_type(folder: Path, key: str, value: Any, noun: str) -> DecodingError:
    return head_error(
        folder,
        f"has a config.json with a value of the wrong type: {key} is {str(value)[:60]!r}, and no {noun}",
    )


def rope_type(scaling: Mapping[str, Any]) -> str:
    """The type of a rotary scaling. Raises `DecodingError` for one that is not built here."""
    kind = str(scaling.get("rope_type") or scaling.get("type") or ROPE_TYPES[0])
    if kind not in (*ROPE_TYPES, PICTURES):
        raise DecodingError(
            f"the draft head uses '{kind}' rotary embeddings (rope_scaling); spectui knows {', '.join(ROPE_TYPES)}"
        )
    return ROPE_TYPES[0] if kind == PICTURES else kind


def layer_fields(
    folder: Path, data: Mapping[str, Any], layer: Mapping[str, Any], noun: str
) -> dict[str, Any]:
    """The fields of `LayerConfig` in a configuration. Raises `DecodingError` for layers that are not built here."""
    activation = layer.get("hidden_act", data.get("hidden_act"))
    if activation not in (None, "silu"):
        raise head_error(
            folder, f"has hidden_act = {activation}, which spectui does not know; choose another head"
        )
    rope = dict(layer.get("rope_parameters") or layer.get("rope_scaling") or {})
    rope_type(rope)
    if by_kind := next((key for key, value in rope.items() if isinstance(value, dict)), None):
        raise head_error(
            folder,
            f"has rope_parameters of its own for '{by_kind}', which spectui does not know; choose another head",
        )
    for key, value in rope.items():
        if type(value) in (int, float):
            number(folder, key, value, zero=key != "factor")
    if quantized := data.get("quantization_config"):
        raise head_error(
            folder,
            f"has a quantization_config ({str(quantized)[:60]}), and spectui reads none that are quantised; "
            "choose another",
        )
    if rope.get("partial_rotary_factor", layer.get("partial_rotary_factor")) not in (None, 1, 1.0):
        raise head_error(
            folder, "has a partial_rotary_factor, which spectui does not know; choose another head"
        )

    def whole(key: str, otherwise: int) -> int:
        return otherwise if layer.get(key) is None else whole_number(folder, key, layer[key])

    def real(key: str, value: Any, otherwise: float, *, zero: bool = False) -> float:
        return otherwise if value is None else number(folder, key, value, zero=zero)

    def on(key: str) -> bool:
        return switch(folder, key, layer.get(key, data.get(key)))

    if not isinstance(layer.get("model_type"), str | None):
        raise _wrong_type(folder, "model_type", layer["model_type"], "word")
    missing = [key for key in _NEEDED if layer.get(key) is None]
    if missing:
        raise head_error(folder, f"has no {missing[0]} in its config.json; it is no {noun}")
    width, inner, heads = (whole_number(folder, key, layer[key]) for key in _NEEDED)
    of_a_head = _QWEN3_HEAD_DIM if layer.get("model_type") == "qwen3" else width // max(heads, 1)
    theta = layer.get("rope_theta") if rope.get("rope_theta") is None else rope["rope_theta"]
    rope.pop("rope_theta", None)
    fields: dict[str, Any] = {
        "hidden_size": width,
        "intermediate_size": inner,
        "num_attention_heads": heads,
        "num_key_value_heads": whole("num_key_value_heads", heads),
        "head_dim": whole("head_dim", of_a_head),
        "num_hidden_layers": whole("num_hidden_layers", 1),
        "rms_norm_eps": real("rms_norm_eps", layer.get("rms_norm_eps"), 1e-6, zero=True),
        "rope_theta": real("rope_theta", theta, 10_000.0),
        "rope_scaling": rope,
        "max_position_embeddings": whole("max_position_embeddings", 2048),
        "attention_bias": on("attention_bias"),
        "mlp_bias": on("mlp_bias"),
    }
    sizes = {key: value for key, value in fields.items() if type(value) is int}
    check_sizes(folder, sizes)
    if fields["head_dim"] % 2:
        raise head_error(folder, f"has head_dim = {fields['head_dim']}, which rotary embeddings cannot halve")
    for key, limit in _LARGEST_OF.items():
        if fields[key] > limit:
            raise head_error(folder, f"has {key} = {fields[key]} in its config.json, a size that no head has")
    if heads % fields["num_key_value_heads"]:
        raise head_error(
            folder,
            f"has num_attention_heads = {heads}, no multiple of num_key_value_heads = "
            f"{fields['num_key_value_heads']}; its config.json is damaged",
        )
    return fields


def layer_kinds(folder: Path, layer: Mapping[str, Any]) -> list[str] | None:
    """``layer_types`` of a configuration; None where it has none. Raises `DecodingError` for anything but words."""
    kinds = layer.get("layer_types")
    if kinds is None:
        return None
    if not isinstance(kinds, list) or not all(isinstance(kind, str) for kind in kinds):
        raise _wrong_type(folder, "layer_types", kinds, "list of words")
    return kinds


def vocabulary(folder: Path, layer: Mapping[str, Any], noun: str) -> int:
    """Tokens of the target, which every head reads. Raises `DecodingError` where a configuration has none."""
    if layer.get("vocab_size") is None:
        raise head_error(folder, f"has no vocab_size in its config.json; it is no {noun}")
    return whole_number(folder, "vocab_size", layer["vocab_size"])


def check_sizes(folder: Path, sizes: Mapping[str, int]) -> None:
    """Raise `DecodingError` unless each of `sizes` is one that a head could have."""
    for key, size in sizes.items():
        if not 0 < size < _LARGEST:
            raise head_error(folder, f"has {key} = {size} in its config.json, a size that no head has")


def check_target(folder: Path, sizes: Mapping[str, tuple[int, int]]) -> None:
    """Raise `DecodingError` unless a head was made for this target: `sizes` are by name the head's and the target's."""
    for size, (of_head, of_target) in sizes.items():
        if of_head != of_target:
            raise head_error(
                folder,
                f"was made for a target of {size} {of_head}, and this one has {of_target}; choose its own head",
            )


def verifier(data: Mapping[str, Any]) -> str:
    """The target that `speculators` or the authors name in a head's configuration; "" where they name none."""
    inner = data.get("speculators_config")
    named = inner.get("verifier") if isinstance(inner, Mapping) else None
    if isinstance(named, Mapping):
        architectures = named.get("architectures") or []
        kind = f" ({architectures[0]})" if isinstance(architectures, list) and architectures else ""
        return f"'{named.get('name_or_path')}'{kind}"
    return ""


def layout(data: Mapping[str, Any]) -> str:
    """The words for who lays out a head's files like this."""
    if "speculators_model_type" not in data:
        return "its authors' layout"
    version = data.get("speculators_version")
    return f"the layout of speculators{f' {version}' if version else ''}"


def _check_version(folder: Path, data: Mapping[str, Any]) -> None:
    version = data.get("speculators_version")
    if version is None:
        return
    numbers = re.match(r"v?(\d+)(?:\.(\d+))?", str(version))
    if not isinstance(version, str) or numbers is None:
        raise _wrong_type(folder, "speculators_version", version, "version such as 0.9.0")
    if tuple(int(part or 0) for part in numbers.groups()) > KNOWN_SPECULATORS:
        known = ".".join(map(str, KNOWN_SPECULATORS))
        raise head_error(
            folder,
            f"has speculators_version {version}, and spectui knows layouts up to {known}; update spectui",
        )
