"""Lean layers compute what the layers they stand for compute: targets in all their uses, and heads."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
    Qwen3Config,
)

from spectui.decoding.device.model import BufferedModel
from spectui.decoding.eagle.head import EagleHead, HeadConfig
from spectui.decoding.eagle.lean import use_lean_head
from spectui.decoding.heads.lean import LeanDraftLayer
from spectui.decoding.target.attention import use_grouped_attention
from spectui.decoding.target.cache import TreeCache
from spectui.decoding.target.language_model import LanguageModel
from spectui.decoding.target.lean import LeanLayer, use_lean_layers
from spectui.decoding.target.norms import fuse_norms, unit_rms
from spectui.decoding.target.parts import AddedLinear, KeptLinears, MergedLinear, MergedParts, PackedParts
from spectui.decoding.trees.shape import ancestor_mask
from spectui.decoding.trees.spec import parse_tree, static_only
from tests.fake_gpu import FakeGpu
from tests.models import tiny_llama

FEATURES = (1, 2)


SIZES: dict[str, Any] = {
    "vocab_size": 97, "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 3, "num_attention_heads": 6,
    "head_dim": 16, "max_position_embeddings": 256,
}  # fmt: skip
LLAMAS = {
    "llama": LlamaConfig(**SIZES, num_key_value_heads=2, rope_theta=500.0),
    "llama, a head for each query": LlamaConfig(**SIZES, num_key_value_heads=6),
    "llama, one head": LlamaConfig(**SIZES, num_key_value_heads=1, attention_bias=True, mlp_bias=True),
    "mistral with a window": MistralConfig(**SIZES, num_key_value_heads=2, sliding_window=9),
    "qwen2, windows in some layers": Qwen2Config(
        **SIZES, num_key_value_heads=2, use_sliding_window=True, sliding_window=9, max_window_layers=1
    ),
    "qwen3": Qwen3Config(**SIZES, num_key_value_heads=3),
}


class Int8Linear(nn.Module):
    """A quantised layer: int8 weights with a scale for each output."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.scale = nn.Buffer(linear.weight.detach().abs().amax(1) / 127)
        self.whole = nn.Buffer((linear.weight.detach() / self.scale[:, None]).round().to(torch.int8))
        self.bias = linear.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = (x @ self.whole.to(x.dtype).t()) * self.scale
        return out if self.bias is None else out + self.bias


def _pair(config: Any, quantised: bool = False) -> tuple[Any, Any]:
    """A model with random weights as transformers made it, and a copy to be made lean."""
    torch.manual_seed(3)
    plain = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").eval()
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    if quantised:
        for layer in plain.model.layers:
            for part in (layer.self_attn, layer.mlp):
                for name, child in list(part.named_children()):
                    if isinstance(child, nn.Linear):
                        setattr(part, name, Int8Linear(child))
    lean = copy.deepcopy(plain)
    use_grouped_attention(lean)
    return plain, lean


@pytest.mark.parametrize("name", LLAMAS)
@pytest.mark.parametrize("parts", ["packed", "merged", "kept"])
@torch.inference_mode()
def test_lean_layers_are_the_model(name: str, parts: str) -> None:
    """Prefill in two chunks, a tree, a kept path and a single token: logits and the features a head reads, in buffers
    that grow and in those of fixed size."""
    plain, lean = _pair(LLAMAS[name], quantised=parts == "kept")
    assert use_lean_layers(lean, PackedParts() if parts == "packed" else MergedParts()) == 3
    assert all(type(layer) is LeanLayer for layer in lean.model.layers)
    merged = sum(isinstance(module, MergedLinear | AddedLinear) for module in lean.modules())
    assert merged == (12 if parts == "merged" else 0)
    models = [LanguageModel(plain, FEATURES), LanguageModel(lean, FEATURES), BufferedModel(lean, FEATURES)]
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
    for expected, *ours in zip(*seen, strict=True):
        for one_of_ours in ours:
            torch.testing.assert_close(one_of_ours, expected, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@torch.inference_mode()
def test_merged_layers_keep_half_precision(dtype: torch.dtype) -> None:
    """As near to float32 as transformers' layers in the same type."""
    exact, lean = _pair(LLAMAS["qwen3"])
    plain = copy.deepcopy(exact).to(dtype)
    use_lean_layers(lean.to(dtype), MergedParts())
    ids = torch.arange(40)[None]
    logits = [model(ids).logits.float() for model in (exact, plain, lean)]
    theirs, ours = ((each - logits[0]).square().mean().sqrt() for each in logits[1:])
    assert lean.dtype == dtype
    assert ours < 1.1 * theirs


@torch.inference_mode()
def test_a_linear_layer_that_is_more_than_its_weight_is_kept() -> None:
    """Quantisers hook plain layers, give them scales or another forward: merged weights would leave these out."""
    plain, lean = _pair(LLAMAS["llama"])
    for model in (plain, lean):
        first, second, third = (layer.self_attn for layer in model.model.layers)
        first.q_proj.register_forward_hook(lambda *arguments: 2.0 * arguments[-1])
        second.o_proj.forward = lambda x, own=second.o_proj: nn.Linear.forward(own, 0.5 * x)
        third.v_proj.scale = nn.Buffer(torch.ones(1))
    assert use_lean_layers(lean, MergedParts()) == 3
    assert [sum(isinstance(m, KeptLinears) for m in layer.modules()) for layer in lean.model.layers] == [
        1,
        1,
        1,
    ]
    ids = torch.arange(12)[None]
    torch.testing.assert_close(lean(ids).logits, plain(ids).logits, rtol=2e-4, atol=2e-4)


def test_merging_adds_no_weights() -> None:
    plain, lean = _pair(LLAMAS["qwen2, windows in some layers"])
    use_lean_layers(lean, MergedParts())
    assert sum(p.numel() for p in lean.parameters()) == sum(p.numel() for p in plain.parameters())


@torch.inference_mode()
def test_without_a_cache_they_are_causal() -> None:
    plain, lean = _pair(LLAMAS["llama"])
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


@pytest.mark.parametrize("name", ["llama", "gemma3"])
@torch.inference_mode()
def test_a_gpu_has_lean_layers_or_its_log_says_why_not(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """Merged, whatever the type; and the outputs are those of the CPU."""
    gemma = Gemma3TextConfig(**SIZES, num_key_value_heads=2, sliding_window=9)
    plain, model = _pair(LLAMAS.get(name, gemma))
    expected = LanguageModel(plain).prefill([1, 2, 3], all_logits=True).logits
    with FakeGpu() as gpu, caplog.at_level("INFO", logger="spectui.device"):
        gpu.move(model)
        assert use_lean_layers(model) == (3 if name in LLAMAS else 0)
        assert use_lean_layers(model) == 0
        fuse_norms(model)
        ours = BufferedModel(model).prefill([1, 2, 3], all_logits=True).logits
        assert ours is not None
        assert expected is not None
        torch.testing.assert_close(ours.cpu(), expected, rtol=2e-4, atol=2e-4)
    assert any(isinstance(module, MergedLinear) for module in model.modules()) == (name in LLAMAS)
    lines = {record.getMessage() for record in caplog.records}
    assert bool(lines) == (name not in LLAMAS)
    assert all(
        "run as transformers wrote them: lean ones are made for Llama, Mistral" in line for line in lines
    )


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
