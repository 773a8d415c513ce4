"""GPTQ checkpoints through the users' own loader: ``make test-gptq`` makes an environment with gptqmodel for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from spectui.decoding.bench.paired import divergence
from spectui.decoding.config import RunConfig
from spectui.decoding.engine import SpeculativeDecoder
from spectui.decoding.errors import DecodingError
from spectui.decoding.models.load import LoadedModels, load_models, with_draft
from spectui.decoding.models.needs import needs_of
from spectui.decoding.models.quantization import missing_packages
from tests.equality import NEAR_TIE
from tests.gptq_checkpoint import gptq_llama
from tests.models import tiny_llama

missing = missing_packages()
needs_gptq = pytest.mark.skipif(
    bool(missing), reason=f"{' and '.join(missing)} not installed (extra gptq): make test-gptq"
)


@pytest.mark.skipif(not missing, reason="gptqmodel is installed")
def test_without_the_extra_one_line_says_what_to_install_and_why(tmp_path: Path) -> None:
    gptq_llama(tmp_path)
    with pytest.raises(
        DecodingError, match=r"pip install 'spectui\[gptq\]'.*auto-gptq is not used"
    ) as caught:
        load_models(RunConfig(target=str(tmp_path), draft="recycling"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("bits", "words"), [(5, "has weights of 5 bits"), (None, "does not say how many bits")]
)
def test_unknown_bits_are_named(tmp_path: Path, bits: object, words: str) -> None:
    gptq_llama(tmp_path, bits=bits)
    with pytest.raises(DecodingError, match=words):
        load_models(RunConfig(target=str(tmp_path), draft="recycling"))


@needs_gptq
def test_a_gptq_target_is_counted_as_it_is_stored(tmp_path: Path) -> None:
    gptq_llama(tmp_path)
    need = needs_of(RunConfig(target=str(tmp_path), draft="recycling"), lambda *_: None)["target"]
    assert need.quantization == "gptq"
    assert need.weights <= (tmp_path / "model.safetensors").stat().st_size


@needs_gptq
@pytest.mark.parametrize("draft", ["recycling", "model", "itself"])
@pytest.mark.parametrize("tree", ["full:3x2", "chain:4"])
def test_speculation_on_a_gptq_target_gives_its_own_greedy_output(
    loaded: LoadedModels, tmp_path: Path, draft: str, tree: str
) -> None:
    """Against the same loaded model one token at a time: the kernels' rounding is theirs alone."""
    target = str(loaded.draft_folder)
    named = {"recycling": "recycling", "itself": target, "model": str(tmp_path)}[draft]
    if draft == "model":
        tiny_llama(tmp_path, seed=5)
    config = RunConfig(target=target, draft=named, tree=tree, max_new_tokens=24, dtype="float32")
    decoder = SpeculativeDecoder(config, models=with_draft(config, loaded))
    plain = SpeculativeDecoder(config.changed(speculate=False), models=loaded)
    for text in ("Tom is a cat", "def merge(a, b):"):
        ids = decoder.encode(text)
        ours = [t for r in decoder.generate(ids) for t in r.tokens]
        theirs = [t for r in plain.generate(ids) for t in r.tokens]
        left = divergence(decoder.settings, ids, ours, theirs)
        assert left is None or left["margin"] < NEAR_TIE[torch.float32]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedModels:
    folder = tmp_path_factory.mktemp("gptq")
    twin = gptq_llama(folder)
    models = load_models(RunConfig(target=str(folder), draft="recycling", dtype="float32"))
    assert any("qweight" in name for name, _ in models.target.named_buffers())
    ids = torch.tensor([[5, 80, 120, 7]])
    with torch.inference_mode():
        error = (models.target(ids).logits.float() - twin(ids).logits).abs().max()
    assert error < 0.2  # the kernel computes in halves; a wrong layout is off by far more
    return replace(models, draft_folder=folder)
