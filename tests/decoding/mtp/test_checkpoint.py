"""MTP modules are found in a target's own files, and what conversions left of them is told in one line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from spectui.decoding.config import RunConfig
from spectui.decoding.drafters.registry import MTP, draft_help
from spectui.decoding.engine import SpeculativeDecoder
from spectui.decoding.errors import DecodingError
from spectui.decoding.models.load import load_models
from spectui.decoding.models.needs import needs_of
from spectui.decoding.mtp.checkpoint import describe, load_module, module_bytes
from spectui.decoding.mtp.head import MtpHead
from tests.decoding.drafters.reference_cases import FOLDER
from tests.heads import module_tensors, tiny_module
from tests.models import greedy_reference, tiny_llama, tiny_tokenizer
from tests.tiny_families import HIDDEN, LAYERS, tiny_config, tiny_model


def with_module(folder: Path, change: Callable[[dict[str, torch.Tensor]], object] = lambda _: None) -> Any:
    """A Llama with a module among its files."""
    target = tiny_llama(folder)
    tensors = module_tensors(tiny_module(target))
    change(tensors)
    weights = folder / "model.safetensors"
    save_file(load_file(weights) | tensors, weights, metadata={"format": "pt"})
    return target


def test_a_target_drafts_with_its_own_module(tmp_path: Path) -> None:
    """The whole way of a user; the target's embedding and LM head are used, not copied."""
    reference = with_module(tmp_path)
    config = RunConfig(target=str(tmp_path), draft="mtp", tree="dynamic:6x3", max_new_tokens=12)
    stored = sum(tensor.nbytes for tensor in module_tensors(tiny_module(reference)).values())
    assert module_bytes(tmp_path) == stored
    assert stored <= needs_of(config, lambda *_: None)["draft head"].weights <= 2 * stored
    decoder = SpeculativeDecoder(config)
    assert decoder.models.kind is MTP
    head = decoder.models.draft
    assert isinstance(head, MtpHead)
    assert head.own_embedding is None
    assert head.lm_head is None
    ids = decoder.encode("Tom is a cat")
    rounds = list(decoder.generate(ids))
    assert [t for r in rounds for t in r.tokens] == greedy_reference(reference, ids, 12)
    assert all(r.tree.size == 6 for r in rounds)
    assert "mtp (the multi-token-prediction module" in draft_help()
    assert describe(tmp_path).startswith("an MTP module under Qwen3-Next's names")


def test_mimo_runs_without_its_own_code(tmp_path: Path) -> None:
    """transformers has no MiMo; it is a Qwen2 whose module stands beside it."""
    shutil.copytree(FOLDER / "mtp-mimo", tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    config = RunConfig(target=str(tmp_path / "model"), draft="mtp", tree="chain:3", max_new_tokens=12)
    decoder = SpeculativeDecoder(config)
    plain = SpeculativeDecoder(config.changed(draft="recycling", tree="recycling:6"))
    ids = decoder.encode("Tom is a cat")
    outputs = [[t for r in one.generate(ids) for t in r.tokens] for one in (decoder, plain)]
    assert outputs[0] == outputs[1]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t.clear(), "no MTP module .*; give another --draft"),
        (lambda t: t.pop("mtp.fc.weight"), "lacks the tensor 'mtp.fc.weight'"),
        (lambda t: t.pop("mtp.layers.0.mlp.up_proj.weight"), "lacks the tensor 'mtp.mlp.up_proj.weight'"),
        (lambda t: t.update({"mtp.layers.0.extra.weight": torch.ones(1)}), "'mtp.extra.weight' that spectui"),
        (lambda t: t.update({"mtp.fc.weight": torch.ones(2, 2)}), r"'mtp.fc.weight' of shape \[2, 2\]"),
    ],
)
def test_half_a_module_is_refused_in_one_line(
    tmp_path: Path, change: Callable[[dict[str, torch.Tensor]], object], says: str
) -> None:
    target = with_module(tmp_path, change)
    with pytest.raises(DecodingError, match=says) as caught:
        load_module(tmp_path, target)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_a_module_that_a_conversion_dropped_is_named_by_its_key(tmp_path: Path) -> None:
    """Before anything is loaded."""
    tiny_llama(tmp_path)
    described = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(described | {"num_nextn_predict_layers": 1}))
    config = RunConfig(target=str(tmp_path), draft="mtp")
    for fails in (lambda: needs_of(config, lambda *_: None), lambda: load_models(config)):
        with pytest.raises(DecodingError, match="num_nextn_predict_layers = 1, so a conversion dropped it"):
            fails()


def behind_layers(folder: Path, family: str) -> Any:
    """A tiny model of `family` with a module under GLM's names: its last layer again, behind it."""
    target = tiny_model(tiny_config(family))
    target.save_pretrained(folder)
    weights, layers, width = folder / "model.safetensors", LAYERS, HIDDEN
    tensors = load_file(weights)
    last, module = f"model.layers.{layers - 1}.", f"model.layers.{layers}."
    tensors |= {
        name.replace(last, module): tensor.clone() for name, tensor in tensors.items() if last in name
    }
    tensors[f"{module}eh_proj.weight"] = torch.randn(width, 2 * width)
    tensors |= {
        f"{module}{name}.weight": torch.ones(width) for name in ("enorm", "hnorm", "shared_head.norm")
    }
    save_file(tensors, weights, metadata={"format": "pt"})
    return target


@pytest.mark.parametrize("family", ["glm4_moe_lite", "dots1"])
def test_a_family_with_a_word_for_each_layer_builds_one_more(tmp_path: Path, family: str) -> None:
    """GLM-4.7-Flash names each layer's feed-forward block, and its module is one layer more."""
    head = load_module(tmp_path, behind_layers(tmp_path, family))
    assert head.lm_head is None
    assert type(head.layer.mlp).__name__.endswith("MoE")


def test_a_family_without_such_parts_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(DecodingError, match="'nanochat' has no parts that an MTP module could") as caught:
        load_module(tmp_path, behind_layers(tmp_path, "nanochat"))
    assert "\n" not in str(caught.value)
