"""Loading says in one line what is wrong and what to do, before anything is half done."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from spectui.decoding.config import RunConfig
from spectui.decoding.engine import SpeculativeDecoder
from spectui.decoding.errors import DecodingError, UsageError
from spectui.decoding.models.load import load_models
from spectui.decoding.models.placement import resolve_device
from tests.models import greedy_reference, tiny_llama, tiny_tokenizer


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("target")
    tiny_llama(folder)
    return folder


def _fails(config: RunConfig) -> str:
    with pytest.raises(DecodingError) as caught:
        load_models(config)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_folders_load_as_target_and_draft_and_decode_like_generate(target: Path, tmp_path: Path) -> None:
    tiny_llama(tmp_path, seed=5)
    stages: list[str] = []
    config = RunConfig(target=str(target), draft=str(tmp_path), max_new_tokens=12)
    decoder = SpeculativeDecoder(config, progress=lambda stage, *_: stages.append(stage))
    ids = decoder.encode("Tom is a cat")
    output = [t for r in decoder.generate(ids) for t in r.tokens]
    assert output == greedy_reference(tiny_llama(), ids, 12)
    assert list(dict.fromkeys(stages)) == ["loading target", "loading draft", "choosing kernels"]


def test_a_model_that_drafts_for_itself_is_loaded_once(target: Path) -> None:
    models = load_models(RunConfig(target=str(target), draft=str(target)))
    assert models.draft is models.target


def test_vocabularies_that_differ_are_refused_with_the_first_difference(target: Path, tmp_path: Path) -> None:
    tiny_llama(tmp_path, tokenizer=tiny_tokenizer(extra="zebra zebra zebra quagga quagga"))
    message = _fails(RunConfig(target=str(target), draft=str(tmp_path)))
    assert "different vocabularies: token " in message


def test_missing_folders_and_unfit_ones(tmp_path: Path) -> None:
    assert "does not exist" in _fails(RunConfig(target=str(tmp_path / "nowhere")))
    assert "config.json" in _fails(RunConfig(target=str(tmp_path)))


def test_a_truncated_checkpoint(tmp_path: Path) -> None:
    tiny_llama(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:2000])
    assert str(tmp_path) in _fails(RunConfig(target=str(tmp_path)))


def test_an_unknown_hub_id_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    message = _fails(RunConfig(target="nobody/no-such-model"))
    assert "nobody/no-such-model" in message


def test_a_gpu_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="usable GPUs"):
        resolve_device("cuda:63")


@pytest.mark.parametrize(
    "bad",
    [
        {"temperature": -1.0}, {"top_p": 0.0}, {"max_new_tokens": 0}, {"tree": "full:0x1"}, {"device": "tpu"},
        {"dtype": "int3"}, {"seed": -1}, {"target": " "},
        {"draft": "recycling", "tree": "dynamic:8x4"},
    ],
)  # fmt: skip
def test_configurations_out_of_range_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(UsageError) as caught:
        RunConfig(**bad)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_configurations_survive_json_and_say_what_is_wrong_with_it() -> None:
    config = RunConfig(tree="chain:4", temperature=0.7)
    assert RunConfig.from_json(config.to_json()) == config
    for text in ("nonsense", "[]", '{"colour": 1}', '{"max_new_tokens": "many"}'):
        with pytest.raises(UsageError):
            RunConfig.from_json(text)


def test_pickled_weights_are_loaded_only_when_that_is_allowed(tmp_path: Path) -> None:
    model = tiny_llama(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    assert "has pickled weights" in _fails(RunConfig(target=str(tmp_path)))
    assert "--allow-pickle" in _fails(RunConfig(target=str(tmp_path)))
    assert load_models(RunConfig(target=str(tmp_path), allow_pickle=True)).target is not None


def test_code_that_comes_with_a_model_is_not_run(tmp_path: Path) -> None:
    tiny_llama(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    classes = {
        "AutoConfig": "own.Config",
        "AutoModelForCausalLM": "own.Model",
        "AutoTokenizer": "own.Tokenizer",
    }
    (tmp_path / "config.json").write_text(json.dumps({**config, "model_type": "own", "auto_map": classes}))
    (tmp_path / "own.py").write_text(f"import pathlib\npathlib.Path({str(tmp_path / 'ran')!r}).touch()\n")
    message = _fails(RunConfig(target=str(tmp_path)))
    assert "code of its own, which spectui does not run" in message
    assert not (tmp_path / "ran").exists()
