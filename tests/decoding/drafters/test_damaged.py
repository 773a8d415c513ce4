"""No value in a head's ``config.json`` breaks what reads it: one line names the key, or the value changes nothing."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from spectui.decoding.checkpoints.locate import locate
from spectui.decoding.config import RunConfig
from spectui.decoding.drafters.kind import imported
from spectui.decoding.drafters.registry import DFLASH, DRAFT_MODEL, EAGLE, kind_in
from spectui.decoding.errors import DecodingError
from spectui.decoding.models.needs import draft_words, need_of

_LAYERS: dict[str, Any] = {
    "model_type": None, "hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "num_hidden_layers": 1, "vocab_size": 384, "rms_norm_eps": 1e-6,
    "rope_theta": 1e4, "max_position_embeddings": 512, "attention_bias": False, "mlp_bias": False,
    "hidden_act": "silu",
}  # fmt: skip
_BLOCK: dict[str, Any] = {
    "block_size": 5, "mask_token_id": 383, "draft_vocab_size": 384, "layer_types": ["full_attention"],
    "use_sliding_window": False, "is_causal": None, "sample_from_anchor": False,
}  # fmt: skip
_AUTHORS: dict[str, Any] = {
    "target_layer_ids": [0, 1], "num_target_layers": 3, "input_embedding_scale": 1.0, "output_multiplier": 1.0,
    "final_logit_softcapping": 30.0,
}  # fmt: skip
_SPECULATORS: dict[str, Any] = {
    "speculators_version": "0.9.0", "aux_hidden_state_layer_ids": [1, 2], "sliding_window_non_causal": False
}  # fmt: skip
_EAGLE3: dict[str, Any] = {
    "draft_vocab_size": 100, "target_hidden_size": 32, "eagle_aux_hidden_state_layer_ids": [0, 1, 2],
    "norm_before_residual": False, "norm_before_fc": False, "fc_norm": False, "norm_output": False,
    "layer_types": ["full_attention"],
}  # fmt: skip
_HEADS: dict[str, dict[str, Any]] = {
    "dflash": {"architectures": ["DFlashDraftModel"]} | _LAYERS | _BLOCK | _AUTHORS,
    "dspark": {"speculators_model_type": "dspark"} | _LAYERS | _BLOCK | _SPECULATORS
    | {"markov_head_type": "vanilla", "markov_rank": 8, "enable_confidence_head": True,
       "confidence_head_with_markov": True},
    "eagle": {"architectures": ["LlamaForCausalLMEagle3"]} | _LAYERS | _EAGLE3,
    "peagle": {"architectures": ["PEagleDraftModel"], "mask_token_id": 383} | _LAYERS | _EAGLE3,
    "eagle1": {"architectures": ["EagleLlamaForCausalLM"]} | _LAYERS,
}  # fmt: skip
_DAMAGED: tuple[Any, ...] = (
    "x", "7", -1, 1.5, 10**400, -(10**30), math.nan, math.inf, True, [1], [[]], {"a": 1}, {"a": {"b": 1}}
)  # fmt: skip
"""Python reads ``NaN``, ``Infinity`` and whole numbers of any length from JSON."""


def _read(folder: Path, config: dict[str, Any]) -> str | None:
    """The line that refuses `config`, None where it is read."""
    (folder / "config.json").write_text(json.dumps(config))
    try:
        locate(str(folder), lambda *_: None)
        kind = kind_in(folder)
        if kind.weights is not None and kind.weights.describe:
            imported(kind.weights.describe)(folder, None)
    except DecodingError as error:
        return str(error)
    return None


@pytest.mark.parametrize("name", _HEADS)
def test_a_damaged_value_is_named_or_changes_nothing(tmp_path: Path, name: str) -> None:
    config = _HEADS[name]
    assert _read(tmp_path, config) is None
    assert kind_in(tmp_path).name == name
    for key in (*config, "rope_parameters", "rope_scaling", "dflash_config", "eagle_config", "layer_types"):
        for value in _DAMAGED:
            refusal = _read(tmp_path, config | {key: value})
            assert refusal is None or ("\n" not in refusal and len(refusal) < 700), (key, value)


@pytest.mark.parametrize("name", _HEADS)
def test_what_is_no_number_and_no_switch_is_refused_by_its_key(tmp_path: Path, name: str) -> None:
    """NaN would go through the layers and show in no output, and "false" count as true."""
    config = _HEADS[name]
    for key, value in config.items():
        if isinstance(value, str | list) or key == "model_type":
            continue
        for damaged in ("false", math.nan, -1.5, [1], {"a": 1}):
            refusal = _read(tmp_path, config | {key: damaged})
            assert refusal is not None, (key, damaged)
            assert key in refusal


@pytest.mark.parametrize("name", _HEADS)
@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model_type": 3}, "model_type is '3', and no word"),
        ({"rope_theta": 0}, "rope_theta = 0"),
        ({"head_dim": 1 << 30}, "head_dim = 1073741824"),  # its angles alone would take gigabytes
        ({"rms_norm_eps": -1e-6}, "rms_norm_eps = -1e-06"),
        ({"rope_parameters": {"rope_theta": math.nan}}, "rope_theta = nan"),
        ({"rope_parameters": {"full_attention": {"rope_theta": 1e4}}}, "rope_parameters of its own for 'full_att"),
        ({"rope_scaling": {"rope_type": "linear", "factor": math.nan}}, "factor = nan"),
        ({"rope_scaling": {"rope_type": "linear", "factor": 0}}, "factor = 0"),
        ({"speculators_version": "2"}, "speculators_version 2, and spectui knows"),
        ({"speculators_version": "new"}, "speculators_version is 'new'"),
        ({"speculators_version": 1}, "speculators_version is '1'"),
        ({"speculators_version": "v1.0"}, "speculators_version v1.0"),
    ],
)  # fmt: skip
def test_values_without_meaning_are_refused_by_their_key(
    tmp_path: Path, name: str, changes: dict[str, Any], says: str
) -> None:
    refusal = _read(tmp_path, _HEADS[name] | changes)
    assert refusal is not None
    assert says in refusal


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"model.safetensors.index.json": "[" * 100_000}, "index.json is damaged"),
        ({"model.safetensors.index.json": '{"weight_map": {"fc.weight": null}}'}, "index.json is damaged"),
        ({"model.safetensors.index.json": '{"weight_map": {"fc.weight": 3}}'}, "index.json is damaged"),
        ({"model.safetensors.index.json": '{"weight_map": {"fc.weight": "../other/model.safetensors"}}'},
         "outside its folder ('../other/model.safetensors')"),
        ({"model.safetensors.index.json": '{"weight_map": {"fc.weight": "/etc/passwd"}}'},
         "outside its folder ('/etc/passwd')"),
        ({"model.safetensors": ""}, "model.safetensors is damaged or cut"),
        ({}, "has no model.safetensors"),
    ],
)  # fmt: skip
def test_damaged_files_of_a_head_are_refused_in_one_line(
    tmp_path: Path, files: dict[str, str], says: str
) -> None:
    """Nothing beside the folder is read, and a link to nothing is no file."""
    folder = tmp_path / "head"
    (tmp_path / "other").mkdir()
    folder.mkdir()
    (tmp_path / "other" / "model.safetensors").write_bytes(b"")
    (folder / "model.safetensors").symlink_to(tmp_path / "nothing")
    (folder / "config.json").write_text(json.dumps(_HEADS["dflash"]))
    for name, text in files.items():
        (folder / name).unlink(missing_ok=True)
        (folder / name).write_text(text)
    config = RunConfig(target=str(folder), draft="recycling")
    with pytest.raises(DecodingError) as caught:
        draft_words(config, lambda *_: None)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_configuration_nested_without_end_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("[" * 100_000)
    locate(str(tmp_path), lambda *_: None)
    assert kind_in(tmp_path) is DRAFT_MODEL
    with pytest.raises(DecodingError, match="that is not JSON"):
        need_of("x", tmp_path, RunConfig())
    for kind in (DFLASH, EAGLE):
        assert kind.weights is not None
        with pytest.raises(DecodingError, match="no readable config"):
            imported(kind.weights.describe)(tmp_path, None)


@pytest.mark.parametrize("kind", [[], [1], {}, {"a": 1}, 3])
def test_a_kind_that_is_no_word_is_an_unknown_one(tmp_path: Path, kind: Any) -> None:
    refusal = _read(tmp_path, {"speculators_model_type": kind})
    assert refusal is not None
    assert f"a draft head of kind '{kind}'" in refusal
