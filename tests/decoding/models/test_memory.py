"""The memory of models follows from their files; files that are cut or unsafe are refused unread."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from spectui.decoding.checkpoints.weight_files import Tensor, check_weights, shards, tensors
from spectui.decoding.config import RunConfig
from spectui.decoding.errors import DecodingError
from spectui.decoding.models import placement
from spectui.decoding.models.load import load_models
from spectui.decoding.models.memory import PROMPT_TOKENS, TREE_ROWS, need
from spectui.decoding.models.needs import described, needs_of, table
from spectui.decoding.target.sizes import of_llama
from tests.heads import tiny_head
from tests.models import tiny_llama

LLAMA_2_7B = {
    "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 32, "vocab_size": 32000, "max_position_embeddings": 4096, "torch_dtype": "float16",
}  # fmt: skip


def test_llama_2_7b_by_its_published_sizes() -> None:
    parameters = 6_738_415_616
    stored = [Tensor("all", "F16", 2 * parameters)]
    gpu = need(LLAMA_2_7B, of_llama(LLAMA_2_7B), stored, dtype="auto", on_cpu=False, max_new_tokens=256)
    assert gpu.weights == 2 * parameters
    assert gpu.tokens == PROMPT_TOKENS + 256 + TREE_ROWS
    assert gpu.cache == gpu.tokens * 2 * 32 * 4096 * 2  # half a megabyte a token
    assert gpu.dtype == "float16"
    cpu = need(LLAMA_2_7B, of_llama(LLAMA_2_7B), stored, dtype="auto", on_cpu=True, max_new_tokens=256)
    assert (cpu.weights, cpu.cache) == (2 * gpu.weights, 2 * gpu.cache)
    longest = need(LLAMA_2_7B, of_llama(LLAMA_2_7B), stored, dtype="auto", on_cpu=False, max_new_tokens=10**6)
    assert longest.tokens == 4096


def test_quantised_weights_stay_as_they_are_stored_and_gqa_has_a_smaller_cache() -> None:
    config = LLAMA_2_7B | {
        "quantization_config": {"quant_method": "gptq", "bits": 4},
        "num_key_value_heads": 8,
    }
    packed = need(
        config,
        of_llama(config),
        [Tensor("q", "I32", 1000), Tensor("s", "F16", 10)],
        dtype="float32",
        on_cpu=True,
        max_new_tokens=1,
    )
    assert (packed.weights, packed.quantization) == (1010, "gptq")
    assert packed.cache == packed.tokens * 2 * 32 * 1024 * 4


def test_a_pair_is_counted_from_its_folders_and_does_not_fit_where_there_is_no_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, draft = tiny_llama(tmp_path / "target"), tiny_llama(tmp_path / "draft", layers=1, seed=2)
    config = RunConfig(target=str(tmp_path / "target"), draft=str(tmp_path / "draft"), device="cpu")
    needs = needs_of(config, lambda *_: None)
    for role, model in (("target", target), ("draft", draft)):
        assert needs[role].weights == sum(4 * p.numel() for p in model.parameters())
    assert table(described(config, lambda *_: None)).endswith("it fits")
    monkeypatch.setattr("spectui.decoding.models.placement.free_bytes", lambda _: 1000)
    with pytest.raises(DecodingError, match=r"do not fit on cpu: they need .* and 0 MB is free") as caught:
        load_models(config)
    assert "\n" not in str(caught.value)


def test_a_head_is_counted_beside_its_target(tmp_path: Path) -> None:
    from tests.decoding.eagle.test_checkpoint import official

    official(tiny_head(tiny_llama(tmp_path / "model", layers=6)), tmp_path / "head")
    config = RunConfig(target=str(tmp_path / "model"), draft=str(tmp_path / "head"))
    assert set(needs_of(config, lambda *_: None)) == {"target", "draft head"}


def test_with_several_gpus_a_target_is_spread_when_one_has_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = [Tensor("all", "F16", 10**10)]
    needs = {
        "target": need(
            LLAMA_2_7B, of_llama(LLAMA_2_7B), stored, dtype="auto", on_cpu=False, max_new_tokens=16
        )
    }
    monkeypatch.setattr(placement, "resolve_device", lambda _: torch.device("cuda:0"))
    monkeypatch.setattr(placement, "free_bytes", lambda _: 7 * 10**9)
    monkeypatch.setattr(placement, "all_gpus", lambda: [7 * 10**9] * 2)
    monkeypatch.setattr(placement, "find_spec", lambda _: None)
    with pytest.raises(DecodingError, match="multi-gpu"):
        placement.place("auto", needs)
    monkeypatch.setattr(placement, "find_spec", lambda _: object())
    placed = placement.place("auto", needs)
    assert placed.spread
    assert placement.most_per_gpu(placed) == {0: 7 * 10**9 - placed.reserve, 1: 7 * 10**9}
    with pytest.raises(DecodingError, match="do not fit on cuda:0"):  # one GPU was asked for
        placement.place("cuda:0", needs)


def test_cut_missing_and_pickled_weights_are_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    folder = tmp_path / "sharded"
    tiny_llama().save_pretrained(folder, max_shard_size="50KB")
    assert len(shards(folder)) > 1
    assert sum(t.bytes for t in tensors(folder)) == sum(4 * p.numel() for p in tiny_llama().parameters())
    check_weights(folder)
    last = shards(folder)[-1]
    whole = last.read_bytes()
    last.write_bytes(whole[:-10])
    with pytest.raises(DecodingError, match="was cut"):
        check_weights(folder)
    last.write_bytes(b"\x05")
    with pytest.raises(DecodingError, match="damaged or cut"):
        check_weights(folder)
    last.unlink()
    with pytest.raises(DecodingError, match=f"not complete: {last.name} is missing"):
        check_weights(folder)
    pickled = tmp_path / "pickled"
    tiny_llama(pickled)
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    with pytest.raises(DecodingError, match="has pickled weights"):
        load_models(RunConfig(target=str(pickled), draft="recycling"))


def test_a_checkpoint_that_lacks_a_tensor_is_not_made_up(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    tiny_llama(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    del state["model.layers.1.mlp.up_proj.weight"]
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(DecodingError, match=r"lacks the tensor 'model\.layers\.1\.mlp\.up_proj\.weight'"):
        load_models(RunConfig(target=str(tmp_path), draft="recycling"))


def test_a_config_of_no_language_model(tmp_path: Path) -> None:
    tiny_llama(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "clip"}))
    with pytest.raises(DecodingError, match="is no causal language model"):
        load_models(RunConfig(target=str(tmp_path), draft="recycling"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model_type": ["llama"]}, "model_type is"),
        ({"hidden_size": "x"}, "hidden_size is"),
        ({"hidden_size": 0}, "hidden_size is"),
        ({"num_hidden_layers": -1}, "num_hidden_layers is"),
        ({"num_hidden_layers": 10**30}, "num_hidden_layers is"),
        ({"num_attention_heads": None}, "num_attention_heads"),
        ({"num_key_value_heads": -1}, "num_key_value_heads is"),
        ({"num_key_value_heads": "x"}, "num_key_value_heads"),
        ({"max_position_embeddings": {"a": 1}}, "max_position_embeddings"),
        ({"model_type": "qwen2", "layer_types": ["chunked_attention"] * 2}, "chunked_attention layers"),
        ({"architectures": 5, "hidden_size": 2.5}, "hidden_size is"),
    ],
    ids=str,
)
@pytest.mark.parametrize("from_config", [False, True])
def test_values_that_no_model_has_are_named(
    tmp_path: Path, changes: dict[str, Any], words: str, from_config: bool
) -> None:
    """Before, some were internal errors, some gave a cache of negative size, and one never ended."""
    tiny_llama(tmp_path, layers=2)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    config = RunConfig(target=str(tmp_path), draft="recycling", device="cpu")
    with pytest.raises(DecodingError, match=words) as refused:
        needs_of(config, lambda *_: None, from_config=from_config)
    assert "\n" not in str(refused.value)
