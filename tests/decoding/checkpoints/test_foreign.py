"""Folders and files that are no model: each is told for what it is, in one line, with what to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from spectui.decoding.checkpoints.locate import locate
from spectui.decoding.checkpoints.weight_files import read_config, shards, uncommon_name
from spectui.decoding.config import RunConfig
from spectui.decoding.drafters.registry import EAGLE1, kind_in
from spectui.decoding.errors import DecodingError
from spectui.decoding.models.loading import load_tokenizer
from spectui.decoding.models.needs import needs_of
from tests.gptq_checkpoint import gptq_llama
from tests.models import tiny_llama, tiny_tokenizer


def _said(folder: Path) -> str:
    with pytest.raises(DecodingError) as caught:
        locate(str(folder), lambda *_: None)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "an empty folder"),
        ({"model-q4.gguf": ""}, "GGUF file of llama.cpp"),
        ({"adapter_config.json": '{"base_model_name_or_path": "a/b"}', "adapter_model.safetensors": ""}, "LoRA.* a/b"),
        ({"model_index.json": "{}"}, "pipeline of diffusers"),
        ({"model.onnx": "", "config.json": "{}"}, "ONNX"),
        ({"consolidated.00.pth": "", "params.json": "{}"}, "the authors' own layout"),
        ({"weights.00.npz": "", "config.json": "{}"}, "MLX"),
        ({"tf_model.h5": "", "config.json": "{}"}, "TensorFlow"),
        ({"tokenizer.json": "{}", "tokenizer_config.json": "{}"}, "a tokenizer alone"),
        ({"snapshots/abc/config.json": "{}"}, "snapshots/abc in it has"),
        ({"notes.md": ""}, "has no config.json"),
        ({"model.safetensors": "", "config.json": '{"quantization": {"bits": 4, "group_size": 64}}'}, "MLX"),
    ],
)  # fmt: skip
def test_a_folder_that_is_no_model_is_told_for_what_it_is(
    tmp_path: Path, files: dict[str, str], words: str
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    with pytest.raises(DecodingError, match=words) as caught:
        locate(str(tmp_path), lambda *_: None)
    assert "\n" not in str(caught.value)


def test_a_file_is_told_for_what_it_is(tmp_path: Path) -> None:
    for name, words in (("m.gguf", "GGUF file"), ("model.safetensors", "give the folder")):
        (tmp_path / name).touch()
        assert words in _said(tmp_path / name)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"speculators_model_type": "dflash2"}, "DFlash 2"),
        ({"speculators_model_type": "new-kind"}, "of kind 'new-kind'"),
        ({"architectures": ["DFlashDraftModel"], "dflash_config": {"selector_rank": 8}}, "DFlash 2"),
        ({"architectures": ["DominoDraftModel"], "dflash_config": {"projector_type": "domino"}}, "Domino"),
        ({"architectures": ["DFlashDraftModel"], "dflash_config": {"projector_type": "domino"}}, "Domino"),
        ({"architectures": ["QwenDFlareDraftModel"], "dflash_config": {"mask_token_id": 3}}, "DFlare"),
        ({"architectures": ["LiLiCorrDraftModel"], "dflash_config": {"mask_token_id": 3}}, "LiLiCorrDraftModel"),
        ({"medusa_num_heads": 3}, "Medusa"),
        ({"hydra_num_heads": 3}, "Hydra"),
        ({"architectures": ["MiMoMTPModel"], "model_type": "mimo_mtp"}, "multi-token"),
        ({"architectures": ["MLPSpeculatorPreTrainedModel"]}, "MLP speculator"),
    ],
)  # fmt: skip
def test_a_draft_of_a_kind_that_is_not_run_is_named(
    tmp_path: Path, config: dict[str, Any], words: str
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    said = _said(tmp_path)
    assert words in said
    assert "which spectui does not run; give --draft" in said


@pytest.mark.parametrize("pickled", [False, True])
def test_a_head_that_calls_itself_a_llama_is_told_by_its_tensors(tmp_path: Path, pickled: bool) -> None:
    tensors = {"fc.weight": torch.zeros(2, 4), "layers.0.self_attn.q_proj.weight": torch.zeros(2, 2)}
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "num_hidden_layers": 1}
    (tmp_path / "config.json").write_text(json.dumps(config))
    if pickled:
        torch.save(tensors, tmp_path / "pytorch_model.bin")
    else:
        save_file(tensors, tmp_path / "model.safetensors")
    assert kind_in(tmp_path) is EAGLE1


def _as_autogptq_left_it(folder: Path, *, shards: int = 1) -> None:
    """`gptq_model-4bit-32g.safetensors` and `quantize_config.json`; nothing in `config.json`."""
    gptq_llama(folder)
    config = json.loads((folder / "config.json").read_text())
    quantized = config.pop("quantization_config")
    quantized.pop("quant_method")
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "quantize_config.json").write_text(json.dumps(quantized))
    base = "gptq_model-4bit-32g"
    if shards == 1:
        (folder / "model.safetensors").rename(folder / f"{base}.safetensors")
        return
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    where = {
        name: f"{base}-{at % shards + 1:05}-of-{shards:05}.safetensors"
        for at, name in enumerate(sorted(state))
    }
    for file in set(where.values()):
        part = {name: tensor for name, tensor in state.items() if where[name] == file}
        save_file(part, folder / file, metadata={"format": "pt"})
    index = {"metadata": {"total_size": 1}, "weight_map": where}
    (folder / f"{base}.safetensors.index.json").write_text(json.dumps(index))


@pytest.mark.parametrize("count", [1, 2])
def test_an_old_autogptq_folder_is_a_gptq_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    _as_autogptq_left_it(tmp_path, shards=count)
    assert read_config(tmp_path)["quantization_config"]["quant_method"] == "gptq"
    assert len(shards(tmp_path)) == count
    assert str(uncommon_name(tmp_path)).startswith("gptq_model-4bit-32g.safetensors")
    monkeypatch.setattr("spectui.decoding.models.quantization.missing_packages", list)
    need = needs_of(RunConfig(target=str(tmp_path), draft="recycling"), lambda *_: None)["target"]
    assert need.quantization == "gptq"
    monkeypatch.setattr("spectui.decoding.models.quantization.missing_packages", lambda: ["gptqmodel"])
    with pytest.raises(DecodingError, match=r"is a GPTQ model.*pip install 'spectui\[gptq\]'"):
        needs_of(RunConfig(target=str(tmp_path), draft="recycling"), lambda *_: None)


def test_an_old_autoawq_folder_is_an_awq_model(tmp_path: Path) -> None:
    tiny_llama(tmp_path)
    (tmp_path / "quant_config.json").write_text('{"zero_point": true, "q_group_size": 128, "w_bit": 4}')
    assert read_config(tmp_path)["quantization_config"]["quant_method"] == "awq"


def test_weights_under_a_name_of_their_own_are_loaded(tmp_path: Path) -> None:
    from spectui.decoding.models.load import load_models

    tiny_llama(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "my-weights.safetensors")
    assert load_models(RunConfig(target=str(tmp_path), draft="recycling")).target is not None


@pytest.mark.parametrize("name", ["tokenizer.model", "spiece.model"])
def test_a_sentencepiece_tokenizer_names_what_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Said before anything is loaded."""
    tiny_llama(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / name).write_bytes(b"\x0a")
    monkeypatch.setattr("spectui.decoding.checkpoints.tokenizer_files.find_spec", lambda _: None)
    with pytest.raises(DecodingError, match=r"SentencePiece.*pip install 'spectui\[sentencepiece\]'"):
        needs_of(RunConfig(target=str(tmp_path), draft="recycling"), lambda *_: None)


def test_a_folder_without_a_tokenizer_says_so(tmp_path: Path) -> None:
    tiny_llama(tmp_path)
    for path in tmp_path.glob("*token*"):
        path.unlink()
    with pytest.raises(DecodingError, match="has no tokenizer"):
        needs_of(RunConfig(target=str(tmp_path), draft="recycling"), lambda *_: None)


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("tokenizer.json", '{"version": ', r"tokenizer\.json is damaged or cut"),
        ("tokenizer_config.json", "null", r"tokenizer_config\.json is no JSON object"),
        ("special_tokens_map.json", "", r"special_tokens_map\.json is damaged or cut"),
        ("tokenizer_config.json", '{"model_max_length": "x"}', "tokenizer of model .* cannot be loaded"),
    ],
)
def test_a_tokenizers_file_that_cannot_be_read_is_named(
    tmp_path: Path, file: str, text: str, words: str
) -> None:
    """Before, the parser's words alone were said, and a length that is no number failed at the first prompt."""
    tiny_tokenizer().save_pretrained(tmp_path)
    (tmp_path / file).write_text(text)
    with pytest.raises(DecodingError, match=words) as refused:
        load_tokenizer(tmp_path, None)
    assert "\n" not in str(refused.value)
