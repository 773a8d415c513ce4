"""The memory of a model follows from its configuration alone, and the documents say the result."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors import safe_open

from spectui.decoding.config import RunConfig
from spectui.decoding.errors import DecodingError
from spectui.decoding.models.described import head_bytes, model_tensors
from spectui.decoding.models.needs import needs_of
from spectui.decoding.models.placement import gigabytes
from tests import published
from tests.bench.gpu_check.shapes import SMALL
from tests.decoding.eagle.test_checkpoint import official
from tests.gptq_checkpoint import gptq_llama, random_gptq_llama
from tests.heads import tiny_head
from tests.models import tiny_llama
from tests.published import PARAMETERS, described

GUIDE = (Path(__file__).parents[3] / "docs/how-to/models.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", PARAMETERS)
def test_published_models_have_their_parameters(tmp_path: Path, name: str) -> None:
    config = getattr(published, name)
    stored = model_tensors(described(tmp_path / "model", config))
    assert sum(tensor.bytes for tensor in stored) == 2 * PARAMETERS[name]


def test_a_configuration_stores_what_the_model_does(tmp_path: Path) -> None:
    model = tiny_llama(tmp_path / "plain", layers=6)
    assert {t.name: t.bytes for t in model_tensors(tmp_path / "plain")} == {
        name: parameter.nbytes for name, parameter in model.named_parameters()
    }
    gptq_llama(tmp_path / "gptq")
    random_gptq_llama(tmp_path / "random", SMALL, group=32)
    for name in ("gptq", "random"):
        with safe_open(tmp_path / name / "model.safetensors", "pt") as file:
            stored = {key: file.get_tensor(key).nbytes for key in file.keys()}  # noqa: SIM118 - no mapping
        assert {t.name: t.bytes for t in model_tensors(tmp_path / name)} == stored
    official(tiny_head(model), tmp_path / "head")
    counted = head_bytes(tmp_path / "head")
    assert counted == sum(2 * p.numel() for p in tiny_head(model).parameters())


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"model_type": "nothing"}, "describes no model that transformers builds"),
        (
            published.LLAMA_2_7B | {"quantization_config": {"quant_method": "awq"}},
            "does not say what awq stores",
        ),
    ],
)
def test_what_cannot_be_counted_is_one_line(tmp_path: Path, config: dict[str, object], words: str) -> None:
    with pytest.raises(DecodingError, match=words) as caught:
        model_tensors(described(tmp_path / "model", config))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("target", "draft"),
    [
        ("LLAMA_2_7B_GPTQ", "TINY_LLAMA"), ("LLAMA_2_7B", "TINY_LLAMA"), ("LLAMA_31_8B", "EAGLE_31_8B"),
        ("QWEN3_8B", "QWEN3_06B"),
    ],
)  # fmt: skip
def test_the_guide_says_what_each_pair_takes(tmp_path: Path, target: str, draft: str) -> None:
    config = RunConfig(
        target=str(described(tmp_path / "target", getattr(published, target))),
        draft=str(described(tmp_path / "draft", getattr(published, draft))),
        dtype="float16",
        device="cpu",
    )
    needs = needs_of(config, lambda *_: None, from_config=True)
    total = gigabytes(sum(need.total for need in needs.values()))
    weights = " + ".join(gigabytes(need.weights) for need in needs.values())
    assert f"| {weights} | {total} |" in GUIDE
