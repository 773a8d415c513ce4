"""A target that no head can be trained for is refused before text is made, and no head is saved that is not finite."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from spectui.decoding.distill.config import DistillConfig
from spectui.decoding.distill.initial import norm_scale
from spectui.decoding.distill.pipeline import distill
from spectui.decoding.distill.rehearsal import rehearse
from spectui.decoding.distill.train import check_finite
from spectui.decoding.errors import DecodingError
from tests.architectures import save
from tests.decoding.distill.test_distill import a_head
from tests.tiny_families import tiny_config, tiny_model


def _config(folder: Path) -> DistillConfig:
    return DistillConfig(
        target=str(folder), tokens=2000, minutes=1.0, slots=2, max_new_tokens=16, prompt_tokens=96
    )


def _target(family: str, **changes: Any) -> Any:
    layers = {"num_hidden_layers": 6} | ({"n_layer": 6} if family == "gpt2" else {})
    return tiny_model(tiny_config(family, **layers, **changes))


@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma2", "mistral"])
def test_targets_that_heads_are_trained_for_pass(tmp_path: Path, family: str) -> None:
    model = _target(family)
    rehearse(_config(tmp_path), model, None)
    assert not any(module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize(("family", "words"), [("phi3", "has no self_attn.q_proj"), ("gpt2", "gpt2")])
def test_others_are_refused_before_anything_is_generated(tmp_path: Path, family: str, words: str) -> None:
    save(_target(family), tmp_path / "target")
    with pytest.raises(DecodingError, match=words) as caught:
        distill(_config(tmp_path / "target"), tmp_path / "work", tmp_path / "out", lambda _: None, [])
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "work" / "text").exists()
    assert not list((tmp_path / "out").iterdir())


def test_norms_that_scale_by_one_more_are_read_as_they_scale() -> None:
    gemma, llama = _target("gemma2"), _target("llama")
    assert torch.allclose(norm_scale(gemma.model.norm, 32), 1.0 + gemma.model.norm.weight, atol=1e-4)
    llama.model.norm.weight.data.uniform_(0.5, 2.0)
    assert torch.allclose(norm_scale(llama.model.norm, 32), llama.model.norm.weight, atol=1e-4)


def test_a_head_that_is_not_finite_is_refused() -> None:
    _, head = a_head()
    check_finite(head, "here")
    head.fc.weight.data[0, 0] = torch.nan
    with pytest.raises(DecodingError, match=r"fc\.weight has numbers that are not finite"):
        check_finite(head, "here")
