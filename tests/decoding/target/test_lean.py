"""Lean layers compute what the layers they stand for compute: targets in all their uses, and heads."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from spectui.decoding.eagle.head import EagleHead, HeadConfig
from spectui.decoding.eagle.lean import use_lean_head
from spectui.decoding.heads.lean import LeanDraftLayer
from spectui.decoding.target.attention import use_grouped_attention
from spectui.decoding.target.cache import TreeCache
from spectui.decoding.target.language_model import LanguageModel
from spectui.decoding.target.lean import LeanLayer, use_lean_layers
from spectui.decoding.target.norms import unit_rms
from spectui.decoding.trees.shape import ancestor_mask
from spectui.decoding.trees.spec import parse_tree, static_only
from tests.models import tiny_llama

FEATURES = (1, 2)


def _pair(bias: bool, heads: int) -> tuple[Any, Any]:
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=97, hidden_size=48, intermediate_size=80, num_hidden_layers=3, num_attention_heads=6,
        num_key_value_heads=heads, head_dim=16, attention_bias=bias, mlp_bias=bias, rope_theta=500.0,
    )  # fmt: skip
    plain = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    lean = copy.deepcopy(plain)
    use_grouped_attention(lean)
    return plain, lean


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("heads", [6, 2, 1])
@torch.inference_mode()
def test_lean_layers_are_the_model(bias: bool, heads: int) -> None:
    """Prefill in two chunks, a tree, a kept path and a single token: logits and the features a head reads."""
    plain, lean = _pair(bias, heads)
    assert use_lean_layers(lean) == 3
    assert all(type(layer) is LeanLayer for layer in lean.model.layers)
    models = [LanguageModel(plain, FEATURES), LanguageModel(lean, FEATURES)]
    rng = np.random.default_rng(0)
    prompt, more = rng.integers(0, 97, 17).tolist(), rng.integers(0, 97, 5).tolist()
    shape = static_only(parse_tree("full:2x3"), "lm")
    nodes = rng.integers(0, 97, len(shape.parent) + 1)
    depth = np.concatenate([[0], shape.depth])
    seen: list[list[torch.Tensor]] = []
    for model in models:
        outputs = [model.prefill(prompt, all_logits=True), model.prefill(more, all_logits=True)]
        outputs.append(model.append(nodes, depth, ancestor_mask(shape.parent)))
        model.keep([0, 2])
        one = np.zeros(1, dtype=np.int64)
        outputs.append(model.append(one + 7, one, np.ones((1, 1), dtype=np.bool_)))
        tensors = [part for scored in outputs for part in (scored.logits, scored.features)]
        seen.append([part for part in tensors if part is not None])
    assert len(seen[0]) == 8
    for expected, ours in zip(*seen, strict=True):
        torch.testing.assert_close(ours, expected, rtol=2e-4, atol=2e-4)


@torch.inference_mode()
def test_without_a_cache_they_are_causal() -> None:
    plain, lean = _pair(False, 2)
    use_lean_layers(lean)
    ids = torch.arange(12)[None]
    torch.testing.assert_close(lean(ids).logits, plain(ids).logits, rtol=2e-4, atol=2e-4)


def test_other_models_stay_as_they_are() -> None:
    """Half precision, eager attention, layers with something else in them."""
    half = tiny_llama(layers=2).to(torch.bfloat16)
    use_grouped_attention(half)
    eager = tiny_llama(layers=2)
    odd = tiny_llama(layers=2)
    use_grouped_attention(odd)
    odd.model.layers[1].mlp.act_fn = torch.nn.GELU()
    for model in (half, eager, odd):
        assert use_lean_layers(model) == 0
        assert not any(isinstance(m, LeanLayer) for m in model.modules())


MANY = {"num_hidden_layers": 2, "qk_norm": True, "attention_bias": True, "mlp_bias": True, "fc_norm": True}


@pytest.mark.parametrize("variant", [{}, {"norm_before_residual": True}, {"norm_output": True}, MANY])
@torch.inference_mode()
def test_a_lean_head_is_the_head(variant: dict[str, bool]) -> None:
    """Fed pairs, then two levels of a tree with a mask, then a position beyond the table of angles."""
    torch.manual_seed(5)
    config = HeadConfig(
        hidden_size=32, intermediate_size=48, num_attention_heads=4, num_key_value_heads=2, head_dim=8,
        vocab_size=60, draft_vocab_size=40, target_hidden_size=32, feature_layers=(1, 2, 3), **variant,  # type: ignore[arg-type]
    )  # fmt: skip
    plain = EagleHead(config).eval()
    for parameter in plain.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    lean = copy.deepcopy(plain)
    use_lean_head(lean)
    assert isinstance(lean.layers[0], LeanDraftLayer)
    features = torch.randn(6, 96)
    mask = torch.tensor([[True] * 6 + [True, False], [True] * 6 + [False, True]])
    results = []
    for head in (plain, lean):
        cache = TreeCache()
        h = head(torch.arange(6), head.fuse(features), torch.arange(6), cache, torch.ones(6, 6).tril().bool())
        tree = head(torch.tensor([7, 8]), head.carry(h[[5, 5]]), torch.tensor([6, 6]), cache, mask)
        far = head(torch.tensor([9]), head.carry(tree[:1]), torch.tensor([1500]), cache, None)
        results.append([h, tree, far, head.logits(far)])
    for expected, ours in zip(*results, strict=True):
        torch.testing.assert_close(ours, expected, rtol=2e-4, atol=2e-4)


def test_unit_rms_is_torchs_norm_without_weights() -> None:
    x = 3 * torch.randn(2, 4, 48, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(unit_rms(x, 1e-5), torch.nn.functional.rms_norm(x, (48,), eps=1e-5))
