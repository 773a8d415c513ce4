"""The head is the published network: checked against transformers' own parts, step by step and cached."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.functional import linear, silu
from transformers import LlamaConfig, Qwen3Config
from transformers.models.llama.modeling_llama import (
    LlamaDecoderLayer,
    LlamaRMSNorm,
    LlamaRotaryEmbedding,
    apply_rotary_pos_emb,
    eager_attention_forward,
)
from transformers.models.qwen3.modeling_qwen3 import Qwen3DecoderLayer

from spectui.decoding.eagle.head import EagleHead, default_feature_layers, set_draft_vocabulary
from spectui.decoding.errors import DecodingError
from spectui.decoding.heads.files import stored_name
from spectui.decoding.target.cache import TreeCache
from spectui.decoding.target.packed import pack_linears
from tests.heads import tiny_head
from tests.models import tiny_llama

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
VARIANTS: list[dict[str, Any]] = [
    {},
    {"norm_before_residual": True},
    {"norm_before_fc": True},
    {"rope_scaling": LLAMA3, "rope_theta": 500.0},
    {"head_dim": 12, "num_key_value_heads": 4},
    {"fc_norm": True, "qk_norm": True, "feature_layers": (1,)},
    {
        "norm_before_fc": True,
        "attention_bias": True,
        "mlp_bias": True,
        "num_hidden_layers": 3,
        "feature_layers": (0, 1, 1, 2),
    },
    {"num_hidden_layers": 2, "qk_norm": True, "norm_before_residual": True, "feature_layers": (0, 2)},
]


@pytest.fixture(scope="module")
def target() -> Any:
    return tiny_llama(layers=3)


def _norm(module: torch.nn.RMSNorm, x: torch.Tensor) -> torch.Tensor:
    reference = LlamaRMSNorm(x.shape[-1], module.eps)
    reference.weight.data = module.weight.data
    out: torch.Tensor = reference(x)
    return out


def reference(head: EagleHead, tokens: torch.Tensor, features: torch.Tensor) -> tuple[Any, Any]:
    """Hidden states and logits of a causal pass over pairs, from transformers' functions on `head`'s weights."""
    config, layer = head.config, head.layers[0]
    rope = LlamaRotaryEmbedding(
        LlamaConfig(
            hidden_size=config.num_attention_heads * config.head_dim,
            num_attention_heads=config.num_attention_heads,
            head_dim=config.head_dim,
            rope_parameters={"rope_type": "default", **config.rope_scaling, "rope_theta": config.rope_theta},
        )
    )
    if config.norm_before_fc:
        features = _norm(head.input_norm, features)  # type: ignore[arg-type]
    if config.fc_norm:
        parts = features.chunk(len(config.feature_layers), -1)
        features = torch.cat([_norm(norm, x) for norm, x in zip(head.fc_norm, parts, strict=True)], -1)  # type: ignore[arg-type]
    g = linear(features, head.fc.weight)
    normed = _norm(layer.hidden_norm, g)
    x = torch.cat([_norm(layer.input_layernorm, head.embed_tokens(tokens)), normed], dim=-1)[None]
    count = len(tokens)
    q, k, v = (
        linear(x, w.weight, w.bias).view(1, count, -1, config.head_dim).transpose(1, 2)
        for w in (layer.q_proj, layer.k_proj, layer.v_proj)
    )
    if config.qk_norm:
        q, k = _norm(layer.q_norm, q), _norm(layer.k_norm, k)
    q, k = apply_rotary_pos_emb(q, k, *rope(x, torch.arange(count)[None]))
    module = torch.nn.Module()
    module.num_key_value_groups = config.num_attention_heads // config.num_key_value_heads  # type: ignore[assignment]
    causal = torch.full((count, count), float("-inf")).triu(1)[None, None]
    attended, _ = eager_attention_forward(module, q, k, v, causal, config.head_dim**-0.5)
    h = (normed if config.norm_before_residual else g) + layer.o_proj(attended.flatten(2)[0])
    y = _norm(layer.post_attention_layernorm, h)
    h = h + layer.down_proj(silu(layer.gate_proj(y)) * layer.up_proj(y))
    angles = rope(x, torch.arange(count)[None])
    for later in list(head.layers)[1:]:
        h = _ordinary(later, config)(h[None], causal, position_embeddings=angles)[0]
    return h, linear(_norm(head.norm, h), head.lm_head.weight)


def _ordinary(layer: Any, config: Any) -> Any:
    """transformers' own decoder layer, Llama's or Qwen3's, with the weights of a layer behind the first."""
    family, kind = (Qwen3Config, Qwen3DecoderLayer) if config.qk_norm else (LlamaConfig, LlamaDecoderLayer)
    names = (
        "hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads", "head_dim", "rms_norm_eps",
        "attention_bias",
    )  # fmt: skip
    biased = {} if config.qk_norm else {"mlp_bias": config.mlp_bias}
    made = family(**{name: getattr(config, name) for name in names}, **biased, attn_implementation="eager")
    out = kind(made, 0)
    out.load_state_dict(
        {stored_name(f"layers.0.{name}")[9:]: value for name, value in layer.state_dict().items()}
    )
    return out


@pytest.mark.parametrize("changes", VARIANTS)
@torch.inference_mode()
def test_a_causal_pass_equals_transformers_maths(target: Any, changes: dict[str, Any]) -> None:
    head = tiny_head(target, **changes)
    tokens, features = torch.arange(40, 49), torch.randn(9, head.config.fused_width)
    expected, logits = reference(head, tokens, features)
    mask = torch.ones(9, 9, dtype=torch.bool).tril()
    h = head(tokens, head.fuse(features), torch.arange(9), TreeCache(), mask)
    assert torch.allclose(h, expected, atol=1e-5)
    assert torch.allclose(head.logits(h), logits, atol=1e-4)


@torch.inference_mode()
def test_training_in_batches_and_drafting_share_their_steps(target: Any) -> None:
    """`qkv` and `finish` on ``[B, T, H]`` must be what `forward` computes row by row."""
    head = tiny_head(target)
    tokens, features = torch.randint(0, 384, (2, 6)), torch.randn(2, 6, 3 * 32)
    q, k, v, residual = head.qkv(head.embed(tokens), head.fuse(features), torch.arange(6).expand(2, 6))
    attended = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    h = head.finish(attended, residual)
    for row in range(2):
        expected, _ = reference(head, tokens[row], features[row])
        assert torch.allclose(h[row], expected, atol=1e-5)


@torch.inference_mode()
def test_pairs_fed_one_by_one_equal_one_pass(target: Any) -> None:
    head = tiny_head(target)
    tokens, g = torch.arange(7), torch.randn(7, 32)
    whole = head(tokens, g, torch.arange(7), TreeCache(), torch.ones(7, 7, dtype=torch.bool).tril())
    cache = TreeCache()
    single = [head(tokens[i : i + 1], g[i : i + 1], torch.tensor([i]), cache, None) for i in range(7)]
    assert torch.allclose(torch.cat(single), whole, atol=1e-5)


@torch.inference_mode()
def test_packed_weights_compute_the_same(target: Any) -> None:
    plain, packed = tiny_head(target), tiny_head(target)
    assert pack_linears(packed) == 9
    arguments = (torch.arange(5), torch.randn(5, 32), torch.arange(5))
    mask = torch.ones(5, 5, dtype=torch.bool).tril()
    h = plain(*arguments, TreeCache(), mask)
    assert torch.allclose(packed(*arguments, TreeCache(), mask), h, atol=1e-5)
    assert torch.allclose(packed.logits(h), plain.logits(h), atol=1e-5)


def test_what_is_handed_on_is_normed_only_where_the_head_says_so(target: Any) -> None:
    h = torch.randn(3, 32)
    assert torch.equal(tiny_head(target).carry(h), h)
    head = tiny_head(target, norm_output=True)
    assert torch.allclose(head.carry(h), _norm(head.norm, h), atol=1e-6)


def test_the_targets_embedding_is_used_but_is_no_part_of_the_head(target: Any) -> None:
    head = tiny_head(target)
    assert not any("embed" in name for name in head.state_dict())
    assert sum(p.numel() for p in head.parameters()) < 30_000
    assert torch.equal(head.embed(torch.tensor([5])), target.get_input_embeddings().weight[5:6])


def test_half_precision_does_not_round_the_angles(target: Any) -> None:
    exact, half = tiny_head(target), tiny_head(target).bfloat16()
    x = torch.ones(1, 32)
    position = torch.tensor([1001])
    q, *_ = exact.qkv(x, x, position)
    low, *_ = half.qkv(x.bfloat16(), x.bfloat16(), position)
    assert torch.allclose(q, low.float(), atol=0.1)
    assert set(half.state_dict()) == set(exact.state_dict()) == {"draft_ids", *dict(exact.named_parameters())}


def test_features_of_the_embedded_target() -> None:
    assert default_feature_layers(30) == (2, 15, 27)


def test_scalings_that_depend_on_the_length_are_refused(target: Any) -> None:
    with pytest.raises(DecodingError, match="'dynamic' rotary"):
        tiny_head(target, rope_scaling={"type": "dynamic", "factor": 2.0})


@pytest.mark.parametrize("tokens", [[1, 2], [0] * 192, [*range(1, 192), 0], [*range(191), 384]])
def test_a_draft_vocabulary_is_ascending_and_within_the_targets(target: Any, tokens: list[int]) -> None:
    with pytest.raises(ValueError, match="token"):
        set_draft_vocabulary(tiny_head(target), tokens)
