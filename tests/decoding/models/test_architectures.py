"""Families of every kind decode as `generate` does or are refused in the words of the reason.

`python -m tests.bench.architectures` tries them all.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spectui.decoding.checkpoints.weight_files import read_config
from spectui.decoding.config import RunConfig
from spectui.decoding.errors import DecodingError
from spectui.decoding.models.needs import needs_of
from spectui.decoding.models.probe import Probe
from spectui.decoding.target.sizes import sizes_of
from tests.architectures import decoded, save
from tests.tiny_families import tiny_config, tiny_model

EQUAL: list[tuple[str, dict[str, Any]]] = [
    ("gpt2", {}), ("gpt_bigcode", {}), ("xglm", {"tie_word_embeddings": False}), ("ctrl", {}),
    ("gemma3n_text", {"num_kv_shared_layers": 2}), ("gemma4_text", {}), ("falcon", {}), ("doge", {}),
    ("deepseek_v3", {}), ("hunyuan_v1_moe", {}), ("laguna", {}),
    ("gpt_neo", {"attention_types": [[["global"], 4]], "attention_layers": ["global"] * 4}),
]  # fmt: skip
"""Names of sizes of their own; keys shared by layers; one key/value head; latent keys; heads by layer; a weight that
the layer reads by itself; no local layers."""

REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("bloom", {}, "ALiBi"), ("mpt", {}, "ALiBi"), ("falcon", {"alibi": True}, "ALiBi"),
    ("gpt_neo", {}, "local layers"), ("rwkv", {}, "recurrent state"), ("mamba", {}, "recurrent state"),
    ("bert", {}, "is an encoder"), ("openai-gpt", {}, "keeps no keys and values"),
    ("lfm2_moe", {}, "conv layers, whose state cannot be rolled back"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("family", "changes"), EQUAL, ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_family_decodes_as_generate_does(tmp_path: Path, family: str, changes: dict[str, Any]) -> None:
    model = tiny_model(tiny_config(family, **changes))
    save(model, tmp_path)
    assert decoded(tmp_path, model).verdict == "equal"


@pytest.mark.parametrize(
    ("family", "changes", "reason"), REFUSED, ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_family_that_no_tree_can_be_decoded_with_is_refused_before_it_is_loaded(
    tmp_path: Path, family: str, changes: dict[str, Any], reason: str
) -> None:
    save(tiny_model(tiny_config(family, **changes)), tmp_path)
    with pytest.raises(DecodingError, match=reason) as caught:
        needs_of(RunConfig(target=str(tmp_path), draft="recycling"), lambda *_: None)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("described", "reason"),
    [
        ({"model_type": "t5", "is_encoder_decoder": True}, "is an encoder-decoder"),
        ({"model_type": "distilbert"}, "is an encoder"),
        ({"model_type": "llava"}, "reads images"),
        ({"model_type": "vit"}, "is no causal language model"),
    ],
)
def test_a_checkpoint_of_another_kind_is_refused_by_its_kind(
    tmp_path: Path, described: dict[str, Any], reason: str
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(described))
    with pytest.raises(DecodingError, match=reason):
        needs_of(RunConfig(target=str(tmp_path), draft="recycling"), lambda *_: None)


@pytest.mark.parametrize("static", ["0", "1"])
def test_what_no_rule_knows_is_found_by_a_tree_of_the_loaded_model(
    monkeypatch: pytest.MonkeyPatch, static: str
) -> None:
    """A decoder whose learned positions come from a mask, not from numbers, on both paths."""
    monkeypatch.setenv("SPECTUI_STATIC", static)
    with pytest.raises(DecodingError, match="cannot decode a speculative tree"):
        Probe(tiny_model(tiny_config("bart", is_decoder=True, is_encoder_decoder=False))).check()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("family", ["qwen2_moe", "gpt_neox", "gemma4_text", "stablelm"])
def test_rounding_is_no_reason_to_refuse(family: str, dtype: torch.dtype) -> None:
    """Experts too, which rounding may choose otherwise."""
    for seed in range(2):
        Probe(tiny_model(tiny_config(family), seed).to(dtype)).check()


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("falcon", {}), ("falcon", {"new_decoder_architecture": True, "num_kv_heads": 2}), ("gpt_bigcode", {}),
        ("deepseek_v3", {}), ("minicpm3", {}), ("gemma3n_text", {"num_kv_shared_layers": 2}), ("gemma4_text", {}),
        ("laguna", {}), ("qwen3", {}), ("gemma3_text", {}), ("gpt2", {}), ("mixtral", {}), ("phi3", {}), ("jetmoe", {}),
    ],
)  # fmt: skip
def test_the_cache_is_counted_as_the_model_fills_it(
    tmp_path: Path, family: str, changes: dict[str, Any]
) -> None:
    from transformers import DynamicCache

    config = tiny_config(family, **changes)
    config.save_pretrained(tmp_path)
    cache, tokens = DynamicCache(), 5
    with torch.inference_mode():
        tiny_model(config)(input_ids=torch.from_numpy(np.arange(5, 5 + tokens))[None], past_key_values=cache)
    held = sum(
        x.numel() for layer in cache.layers if layer.is_initialized for x in (layer.keys, layer.values)
    )
    assert sizes_of(tmp_path, read_config(tmp_path)).cached == held // tokens
